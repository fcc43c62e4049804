//! What kind of program a Wasm binary is, and whether Mote offers all that it imports.
//!
//! This looks at types, imports and exports only and is done in milliseconds; function bodies are validated by the
//! compiler.

use mote_abi::{code::Kind, wasi};
use wasmparser::{
    ComponentExternName, CompositeInnerType, Encoding, ExternalKind, Instance, MemoryType, Parser, Payload,
    TypeRef, ValidPayload, Validator, WasmFeatures, types::Types,
};

use crate::{error::Error, offer};

/// A Wasm program that Mote can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) kind: Kind,
    /// Initial size in bytes of the first linear memory that instantiation creates, 0 if unknown.
    pub(crate) memory_min: u64,
    /// See [`mote_abi::code::import`].
    pub(crate) imports: u64,
}

/// What a pass over the sections found.
#[derive(Default)]
struct Found<'a> {
    /// Imports of the core module: module, name, and whether it is a function.
    core_imports: Vec<(&'a str, &'a str, bool)>,
    core_exports: Vec<(&'a str, ExternalKind)>,
    imports: Vec<ComponentExternName<'a>>,
    exports: Vec<ComponentExternName<'a>>,
    /// Initial sizes of the first memory that each core module defines; one entry for a core module itself.
    memories: Vec<u64>,
    /// Indices into `memories`, in the order of instantiation.
    instantiated: Vec<usize>,
    /// Whether a core module has objects on the heap of the garbage collector.
    collected: bool,
    types: Option<Types>,
}

impl Found<'_> {
    /// Initial size of the first linear memory. Wasmtime sets a collected heap up before any memory, and then it is
    /// not the memory that stands where the VMM maps one ahead.
    fn memory_min(&self, first: Option<u64>) -> u64 {
        if self.collected { 0 } else { first.unwrap_or(0) }
    }
}

/// Reads `wasm` and refuses what Mote cannot run.
pub(crate) fn inspect(wasm: &[u8]) -> Result<Program, Error> {
    if !wasm.starts_with(b"\0asm") {
        return Err(Error::NotWasm(hint(wasm)));
    }
    let (encoding, found) = scan(wasm)?;
    match encoding {
        Encoding::Module => {
            let missing = offer::missing_core(&found.core_imports);
            if !missing.is_empty() {
                return Err(Error::Imports(missing));
            }
            let kind = core_kind(&found.core_exports)?;
            Ok(Program {
                kind,
                memory_min: found.memory_min(found.memories.first().copied()),
                // WASI 0.1 can make no socket.
                imports: 0,
            })
        }
        Encoding::Component => {
            let types = found
                .types
                .as_ref()
                .ok_or_else(|| Error::Internal("no types".into()))?;
            let missing = offer::missing_component(&found.imports, types.as_ref());
            if !missing.is_empty() {
                return Err(Error::Imports(missing));
            }
            let kind = component_kind(&found.exports)?;
            let first = found
                .instantiated
                .iter()
                .filter_map(|&i| found.memories.get(i))
                .find(|&&m| m > 0);
            Ok(Program {
                kind,
                memory_min: found.memory_min(first.copied()),
                imports: offer::helpers(&found.imports),
            })
        }
    }
}

/// Wasmtime's shared memories need an operating system.
fn not_shared(memory: &MemoryType) -> Result<(), Error> {
    if memory.shared {
        Err(Error::NeedsThreads("shared memory"))
    } else {
        Ok(())
    }
}

/// What the input may be instead of Wasm.
fn hint(input: &[u8]) -> &'static str {
    let text = input.trim_ascii_start();
    if input.is_empty() {
        ": it is empty"
    } else if text.starts_with(b"(module") || text.starts_with(b"(component") || text.starts_with(b";;") {
        ": it looks like the text format; convert it with `wasm-tools parse`"
    } else if input.starts_with(b"\x7fELF") {
        ": it is an ELF file (native or already compiled code)"
    } else if input.starts_with(b"#!") {
        ": it is a script"
    } else {
        ": it does not start with \\0asm"
    }
}

fn scan(wasm: &[u8]) -> Result<(Encoding, Found<'_>), Error> {
    // The compiler decides which proposals are on and says so; here only structure matters.
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let mut found = Found::default();
    let mut encoding = Encoding::Module;
    let mut nesting: Vec<Encoding> = Vec::new();
    // For each core module of the top level, in the order of its index: where its memory stands in `memories`.
    let mut modules: Vec<Option<usize>> = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        // Validates everything but function bodies, which come back unread as `ValidPayload::Func`.
        if let ValidPayload::End(types) = validator.payload(&payload)? {
            found.types = Some(types);
        }
        let depth = nesting.len();
        match payload {
            Payload::Version { encoding: e, .. } => {
                if depth == 0 {
                    encoding = e;
                }
                nesting.push(e);
                let core = e == Encoding::Module;
                if core && depth <= 1 {
                    modules.push(Some(found.memories.len()));
                    found.memories.push(0);
                }
            }
            Payload::End(_) => {
                nesting.pop();
            }
            Payload::TypeSection(section) => {
                for group in section {
                    found.collected |= group?.types().any(|ty| {
                        let inner = &ty.composite_type.inner;
                        matches!(
                            inner,
                            CompositeInnerType::Struct(_) | CompositeInnerType::Array(_)
                        )
                    });
                }
            }
            // Exceptions are such objects.
            Payload::TagSection(section) => found.collected |= section.count() > 0,
            Payload::MemorySection(section) if nesting.last() == Some(&Encoding::Module) => {
                let mut first = None;
                for memory in section {
                    let memory = memory?;
                    not_shared(&memory)?;
                    first.get_or_insert(memory);
                }
                if let (Some(memory), Some(slot), true) = (first, found.memories.last_mut(), depth <= 2) {
                    let page = 1u64.checked_shl(memory.page_size_log2.unwrap_or(16)).unwrap_or(0);
                    *slot = memory.initial.saturating_mul(page);
                }
            }
            Payload::ImportSection(section) if depth == 1 => {
                for import in section.into_imports() {
                    let import = import?;
                    if let TypeRef::Memory(memory) = &import.ty {
                        not_shared(memory)?;
                    }
                    let is_func = matches!(import.ty, TypeRef::Func(_) | TypeRef::FuncExact(_));
                    found.core_imports.push((import.module, import.name, is_func));
                }
            }
            Payload::ExportSection(section) if depth == 1 => {
                for export in section {
                    let export = export?;
                    found.core_exports.push((export.name, export.kind));
                }
            }
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    found.imports.push(import?.name);
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    found.exports.push(export?.name);
                }
            }
            Payload::ComponentAliasSection(section) if depth == 1 => {
                for alias in section {
                    // An aliased module takes an index, but its memory is not known here.
                    if aliases_module(&alias?) {
                        modules.push(None);
                    }
                }
            }
            Payload::InstanceSection(section) if depth == 1 => {
                for instance in section {
                    if let Instance::Instantiate { module_index, .. } = instance? {
                        let slot = usize::try_from(module_index)
                            .ok()
                            .and_then(|i| modules.get(i).copied());
                        found.instantiated.extend(slot.flatten());
                    }
                }
            }
            _ => {}
        }
    }
    Ok((encoding, found))
}

fn aliases_module(alias: &wasmparser::ComponentAlias<'_>) -> bool {
    use wasmparser::{ComponentAlias, ComponentExternalKind, ComponentOuterAliasKind};
    matches!(
        alias,
        ComponentAlias::InstanceExport {
            kind: ComponentExternalKind::Module,
            ..
        } | ComponentAlias::Outer {
            kind: ComponentOuterAliasKind::CoreModule,
            ..
        }
    )
}

fn core_kind(exports: &[(&str, ExternalKind)]) -> Result<Kind, Error> {
    if exports
        .iter()
        .any(|&(name, kind)| name == "_start" && kind == ExternalKind::Func)
    {
        return Ok(Kind::Module);
    }
    let names: Vec<&str> = exports.iter().map(|&(name, _)| name).collect();
    let reactor = if names.contains(&"_initialize") {
        " (a reactor, that is a library)"
    } else {
        ""
    };
    Err(Error::NotACommand(format!(
        "the core module{reactor} exports {}, but no function _start; build it as a command",
        list(&names)
    )))
}

fn component_kind(exports: &[ComponentExternName<'_>]) -> Result<Kind, Error> {
    let exports_any = |interface: &str| {
        exports.iter().any(|e| {
            let (name, version) = wasi::split_version(e.name);
            name == interface && wasi::offers_version(version)
        })
    };
    match (exports_any(wasi::RUN), exports_any(wasi::INCOMING_HANDLER)) {
        (true, false) => return Ok(Kind::Component),
        (false, true) => return Ok(Kind::HttpProxy),
        (true, true) => return Ok(Kind::CommandAndProxy),
        (false, false) => {}
    }
    let names: Vec<&str> = exports.iter().map(|e| e.name).collect();
    let newer = names
        .iter()
        .find(|n| n.starts_with("wasi:") && n.contains("@0.3"));
    let newer = newer
        .map(|n| format!(" (WASI 0.3, as in {n}, is not supported)"))
        .unwrap_or_default();
    Err(Error::NotACommand(format!(
        "the component exports {}{newer}; supported are {}@0.2 and {}@0.2",
        list(&names),
        wasi::RUN,
        wasi::INCOMING_HANDLER
    )))
}

fn list(names: &[&str]) -> String {
    match names {
        [] => "nothing".into(),
        _ if names.len() > 6 => format!("{} and {} more", names[..6].join(", "), names.len() - 6),
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wat: &str) -> Result<Program, Error> {
        inspect(&wat::parse_str(wat).unwrap())
    }

    fn refusal(wat: &str) -> String {
        let error = check(wat).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    }

    #[test]
    fn a_core_command_and_its_memory() {
        let program = check(
            r#"(module
                (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
                (memory (export "memory") 17)
                (func (export "_start")))"#,
        );
        assert_eq!(
            program.unwrap(),
            Program {
                kind: Kind::Module,
                memory_min: 17 << 16,
                imports: 0,
            }
        );
    }

    #[test]
    fn a_collected_heap_comes_before_the_memory() {
        for item in ["(tag)", "(type (struct))", "(type (array i8))"] {
            let program = check(&format!(r#"(module {item} (memory 1) (func (export "_start")))"#));
            assert_eq!(program.unwrap().memory_min, 0, "{item}");
        }
    }

    #[test]
    fn shared_memories_are_named() {
        for memory in [
            "(memory 1 1 shared)",
            r#"(import "env" "memory" (memory 1 1 shared))"#,
        ] {
            let text = refusal(&format!(r#"(module {memory} (func (export "_start")))"#));
            assert!(
                text.contains("uses shared memory of the threads proposal"),
                "{text}"
            );
        }
    }

    #[test]
    fn imports_are_named() {
        let text = refusal(
            r#"(module
                (import "wasi_snapshot_preview1" "fd_dance" (func))
                (import "env" "memory" (memory 1))
                (func (export "_start")))"#,
        );
        assert_eq!(
            text,
            "imports wasi_snapshot_preview1.fd_dance, env.memory, which Mote does not offer"
        );
        let text = refusal(r#"(module (import "wasi_unstable" "fd_write" (func)))"#);
        assert!(
            text.contains("wasi_unstable.fd_write") && text.contains("newer toolchain"),
            "{text}"
        );
    }

    #[test]
    fn a_reactor_is_refused() {
        let text = refusal(r#"(module (func (export "_initialize")))"#);
        assert!(
            text.contains("exports _initialize, but no function _start"),
            "{text}"
        );
    }

    #[test]
    fn component_imports_match_by_version_and_function() {
        let text = refusal(
            r#"(component
                (import "wasi:keyvalue/store@0.2.0-draft" (instance))
                (import "wasi:cli/exit@0.2.4" (instance (export "leave" (func))))
                (import "wasi:cli/stdin@0.3.0" (instance)))"#,
        );
        assert!(
            text.starts_with(
                "imports wasi:keyvalue/store@0.2.0-draft, leave of wasi:cli/exit@0.2.4, wasi:cli/stdin@0.3.0"
            ),
            "{text}"
        );
    }

    #[test]
    fn component_kinds() {
        let with_export = |name: &str| {
            format!(
                r#"(component
                    (import "wasi:random/insecure-seed@0.2.3"
                        (instance (export "insecure-seed" (func (result (tuple u64 u64))))))
                    (core module $tiny (func (export "run")))
                    (core module $main (memory 2) (func (export "run")))
                    (core instance (instantiate $tiny))
                    (core instance $i (instantiate $main))
                    (func $run (canon lift (core func $i "run")))
                    (instance $e (export "run" (func $run)))
                    (export "{name}" (instance $e)))"#
            )
        };
        let run = check(&with_export("wasi:cli/run@0.2.6")).unwrap();
        assert_eq!(
            run,
            Program {
                kind: Kind::Component,
                memory_min: 2 << 16,
                imports: 0,
            }
        );
        assert_eq!(
            check(&with_export("wasi:http/incoming-handler@0.2.0"))
                .unwrap()
                .kind,
            Kind::HttpProxy
        );
        let both = with_export("wasi:http/incoming-handler@0.2.0").replace(
            "(export \"wasi",
            "(export \"wasi:cli/run@0.2.6\" (instance $e)) (export \"wasi",
        );
        assert_eq!(check(&both).unwrap().kind, Kind::CommandAndProxy);
        let text = refusal(&with_export("wasi:cli/run@0.3.0"));
        assert!(
            text.contains("exports wasi:cli/run@0.3.0") && text.contains("not supported"),
            "{text}"
        );
        assert!(text.contains("supported are wasi:cli/run@0.2"), "{text}");
    }

    #[test]
    fn what_is_not_wasm_is_said_to_be_so() {
        for (input, part) in [
            (&b""[..], "empty"),
            (b"  (module)", "text format"),
            (b"\x7fELF", "ELF"),
            (b"hello", "does not start"),
        ] {
            let text = inspect(input).unwrap_err().to_string();
            assert!(text.contains(part), "{text}");
        }
        assert!(matches!(inspect(b"\0asm\x01\0\0\0\xff"), Err(Error::Invalid(_))));
        assert!(matches!(inspect(b"\0asm"), Err(Error::Invalid(_))));
    }
}
