// Renders a Helm chart as Helm does: Go's text/template with sprig's functions, and the few that Helm adds. Prints the
// objects as JSON, one a line.
//
//	render CHART RELEASE NAMESPACE [VALUES.yaml]...
//	render --json FILE.yaml      the file's object
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"gopkg.in/yaml.v3"
)

type tree = map[string]any

func main() {
	log.SetFlags(0)
	if len(os.Args) == 3 && os.Args[1] == "--json" {
		check(json.NewEncoder(os.Stdout).Encode(load(os.Args[2])))
		return
	}
	if len(os.Args) < 4 {
		log.Fatal("usage: render CHART RELEASE NAMESPACE [VALUES.yaml]...")
	}
	chart, release, namespace := os.Args[1], os.Args[2], os.Args[3]
	values := load(filepath.Join(chart, "values.yaml"))
	for _, path := range os.Args[4:] {
		merge(values, load(path))
	}
	about := load(filepath.Join(chart, "Chart.yaml"))
	data := tree{
		"Values":  values,
		"Release": tree{"Name": release, "Namespace": namespace, "Service": "Helm", "Revision": 1, "IsInstall": true},
		// Helm gives the chart's fields with capitals.
		"Chart": tree{"Name": about["name"], "Version": about["version"], "AppVersion": about["appVersion"]},
	}

	root := template.New("chart").Option("missingkey=zero")
	functions := sprig.TxtFuncMap()
	functions["toYaml"] = func(value any) string {
		var out bytes.Buffer
		encoder := yaml.NewEncoder(&out)
		encoder.SetIndent(2)
		check(encoder.Encode(value))
		return strings.TrimSuffix(out.String(), "\n")
	}
	functions["include"] = func(name string, data any) (string, error) {
		var out strings.Builder
		err := root.ExecuteTemplate(&out, name, data)
		return out.String(), err
	}
	root.Funcs(functions)

	files, err := filepath.Glob(filepath.Join(chart, "templates", "*"))
	check(err)
	sort.Strings(files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		check(err)
		_, err = root.New(filepath.Base(file)).Parse(string(text))
		check(err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		if strings.HasPrefix(name, "_") {
			continue
		}
		var out bytes.Buffer
		check(root.ExecuteTemplate(&out, name, data))
		if strings.HasSuffix(name, ".txt") {
			fmt.Fprint(os.Stderr, out.String())
			continue
		}
		decoder := yaml.NewDecoder(&out)
		for {
			var object tree
			err := decoder.Decode(&object)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				log.Fatalf("%s: %v", name, err)
			}
			if object != nil {
				check(json.NewEncoder(os.Stdout).Encode(object))
			}
		}
	}
}

func load(path string) tree {
	text, err := os.ReadFile(path)
	check(err)
	var value tree
	if err := yaml.Unmarshal(text, &value); err != nil {
		log.Fatalf("%s: %v", path, err)
	}
	return value
}

func merge(into, from tree) {
	for key, value := range from {
		inner, both := into[key].(tree)
		other, also := value.(tree)
		if both && also {
			merge(inner, other)
		} else {
			into[key] = value
		}
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
