// A small tool: what a Go program does with standard streams, files, clocks and the processor. Its output depends on
// nothing but its arguments, its input and the folder it is given.
package main

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

func main() {
	args := append(os.Args[1:], "", "")
	switch args[0] {
	case "echo":
		echo(os.Args[2:])
	case "files":
		files(args[1])
	case "clocks":
		clocks()
	case "compute":
		compute()
	case "panic":
		fmt.Println("about to panic")
		panic("as asked")
	case "nil":
		var nothing *[]string
		fmt.Println(len(*nothing))
	default:
		fmt.Fprintf(os.Stderr, "tool: no command %q\n", args[0])
		os.Exit(2)
	}
}

func sum(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }

func echo(args []string) {
	for i, arg := range args {
		fmt.Printf("arg %d: %s\n", i+1, arg)
	}
	env := os.Environ()
	sort.Strings(env)
	for _, variable := range env {
		fmt.Println("env:", variable)
	}
	input, err := io.ReadAll(bufio.NewReader(os.Stdin))
	fmt.Println("stdin:", len(input), "bytes, sha256", sum(input), err)
	fmt.Fprintln(os.Stderr, "tool: echoed")
	if len(args) > 0 {
		code, _ := strconv.Atoi(args[0])
		os.Exit(code)
	}
}

// step prints what a step gave. Go's errors name the call, the path and the error of the operating system.
func step(what string, err error, values ...any) {
	if err != nil {
		fmt.Printf("%s: %v (absent %t, exists %t, permission %t)\n", what, err, errors.Is(err, fs.ErrNotExist),
			errors.Is(err, fs.ErrExist), errors.Is(err, fs.ErrPermission))
		return
	}
	fmt.Println(append([]any{what + ": ok"}, values...)...)
}

func digest(path string) (string, error) {
	data, err := os.ReadFile(path)
	return fmt.Sprintf("%d bytes, sha256 %.16s", len(data), sum(data)), err
}

func list(what, dir string) {
	entries, err := os.ReadDir(dir)
	step(what, err, len(entries))
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || len(entries) > 32 {
			continue
		}
		size := info.Size()
		if info.IsDir() {
			// The file system's own affair.
			size = -1
		}
		fmt.Println(" ", entry.Name(), entry.Type(), size)
	}
}

func files(dir string) {
	at := func(name string) string { return filepath.Join(dir, "work", name) }
	step("mkdir", os.Mkdir(at(""), 0o777))
	step("mkdir again", os.Mkdir(at(""), 0o777))
	step("mkdir all", os.MkdirAll(at("deep/er/still"), 0o777))
	step("write", os.WriteFile(at("a.txt"), []byte("first line\n"), 0o666))
	file, err := os.OpenFile(at("a.txt"), os.O_APPEND|os.O_WRONLY, 0)
	step("open to append", err)
	if err == nil {
		_, err = file.WriteString("second line\n")
		step("append", err)
		step("close", file.Close())
		step("close again", file.Close())
	}
	text, err := os.ReadFile(at("a.txt"))
	step("read", err, strconv.Quote(string(text)))
	_, err = os.OpenFile(at("a.txt"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	step("create exclusively", err)

	data := make([]byte, 1<<20)
	for i := range data {
		data[i] = byte(uint32(i) * 2654435761 >> 24)
	}
	step("write 1 MiB", os.WriteFile(at("big.bin"), data, 0o666))
	found, err := digest(at("big.bin"))
	step("read 1 MiB", err, found)
	patch(at("big.bin"))
	found, err = digest(at("big.bin"))
	step("read patched", err, found)
	then := time.Unix(1234567890, 500000000)
	step("set times", os.Chtimes(at("big.bin"), then, then))
	info, err := os.Stat(at("big.bin"))
	step("stat", err)
	if err == nil {
		fmt.Println(info.Name(), info.Size(), info.Mode().IsRegular(), info.ModTime().UTC())
	}

	step("rename", os.Rename(at("a.txt"), at("deep/b.txt")))
	step("write other", os.WriteFile(at("c.txt"), []byte("replaced\n"), 0o666))
	step("rename over", os.Rename(at("deep/b.txt"), at("c.txt")))
	step("rename absent", os.Rename(at("absent"), at("d.txt")))
	step("hard link", os.Link(at("c.txt"), at("hard.txt")))
	step("symlink", os.Symlink("c.txt", at("soft.txt")))
	step("symlink out", os.Symlink("../../../etc/passwd", at("out")))
	step("symlink absolute", os.Symlink("/etc/passwd", at("absolute")))
	target, err := os.Readlink(at("soft.txt"))
	step("readlink", err, target)
	text, err = os.ReadFile(at("soft.txt"))
	step("through link", err, strconv.Quote(string(text)))
	_, err = os.ReadFile(at("out"))
	step("through link out", err)
	info, err = os.Lstat(at("soft.txt"))
	step("lstat", err, info != nil && info.Mode()&fs.ModeSymlink != 0)
	list("list", at(""))
	step("walk", filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		fmt.Println(" ", path, entry.Type(), err)
		return err
	}))

	_, err = os.Open(at("absent"))
	step("absent", err)
	_, err = os.Open(dir + "/work/../../etc/passwd")
	step("escape by dots", err)
	_, err = os.Open("/etc/passwd")
	step("escape by root", err)
	_, err = os.ReadDir(at("c.txt"))
	step("list file", err)
	step("remove full", os.Remove(at("")))
	step("remove", os.Remove(at("hard.txt")))
	step("remove again", os.Remove(at("hard.txt")))
	step("remove directory", os.RemoveAll(at("deep")))

	step("mkdir many", os.Mkdir(filepath.Join(dir, "many"), 0o777))
	for n := 0; n < 300; n++ {
		name := fmt.Sprintf("entry with a rather long name, number %03d", n)
		if err := os.WriteFile(filepath.Join(dir, "many", name), []byte(name), 0o666); err != nil {
			fmt.Println(err)
		}
	}
	list("list many", filepath.Join(dir, "many"))
}

func patch(path string) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	step("open both ways", err)
	if err != nil {
		return
	}
	defer file.Close()
	piece := make([]byte, 8)
	n, err := file.ReadAt(piece, 700000)
	step("read at", err, n, piece)
	n, err = file.WriteAt([]byte("patched"), 100)
	step("write at", err, n)
	end, err := file.Seek(0, io.SeekEnd)
	step("seek", err, end)
	n, err = file.Read(piece)
	step("read at end", err, n)
	step("shrink", file.Truncate(5000))
	step("grow", file.Truncate(6000))
	step("sync", file.Sync())
}

func clocks() {
	before := time.Now()
	time.Sleep(20 * time.Millisecond)
	fmt.Println("slept at least 20 ms:", time.Since(before) >= 20*time.Millisecond)
	fmt.Println("after 2024:", before.Unix() > 1704067200)
	// A timer and a goroutine wait at the same time.
	var order []string
	var lock sync.Mutex
	var group sync.WaitGroup
	for _, delay := range []int{30, 10, 20} {
		group.Add(1)
		go func() {
			defer group.Done()
			<-time.After(time.Duration(delay) * time.Millisecond)
			lock.Lock()
			order = append(order, strconv.Itoa(delay))
			lock.Unlock()
		}()
	}
	group.Wait()
	fmt.Println("timers fired:", strings.Join(order, " "))
	one, other := make([]byte, 16), make([]byte, 16)
	_, err := rand.Read(one)
	rand.Read(other)
	fmt.Println("two numbers differ:", string(one) != string(other), err)
}

func compute() {
	data := make([]byte, 1<<20)
	for i := range data {
		data[i] = byte(i*31 ^ i>>8)
	}
	fmt.Println("sha256", sum(data))
	var value map[string]any
	err := json.Unmarshal([]byte(`{"name": "möte", "list": [1, 2.5, -3e10, null, true], "nested": {"b": 1}}`), &value)
	text, _ := json.MarshalIndent(value, "", "  ")
	fmt.Println(string(text), err)
	fmt.Println(json.Unmarshal([]byte(`{"a": [1, }`), &value))
	total := 0.0
	for i := 1; i <= 1000000; i++ {
		total += 1 / (float64(i) * float64(i))
	}
	fmt.Println("sum", total, strconv.FormatFloat(total, 'x', -1, 64))
	product := big.NewInt(0).MulRange(1, 60)
	fmt.Println("60! =", product, product.ProbablyPrime(10))
	// Work handed to goroutines and collected.
	results := make(chan int)
	for worker := 0; worker < 8; worker++ {
		go func() {
			count := 0
			for n := worker; n < 20000; n += 8 {
				if big.NewInt(int64(n)).ProbablyPrime(0) {
					count++
				}
			}
			results <- count
		}()
	}
	primes := 0
	for worker := 0; worker < 8; worker++ {
		primes += <-results
	}
	fmt.Println("primes below 20000:", primes)
}
