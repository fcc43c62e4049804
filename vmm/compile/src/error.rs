//! What can go wrong, and whose fault it is.

use mote_abi::wasi;

/// Why there is no code file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot read standard input: {0}")]
    Read(#[source] std::io::Error),
    #[error("cannot write the code file to standard output: {0}")]
    Write(#[source] std::io::Error),
    #[error("cannot start the compiler's threads: {0}")]
    Threads(#[source] rayon::ThreadPoolBuildError),
    #[error("cannot lock the compiler up ({what}): {cause}")]
    Jail { what: &'static str, cause: String },
    #[error(
        "--features lacks {feature}, without which nothing is compiled; pass the word that `mote-vmm --probe` prints"
    )]
    Features { feature: &'static str },
    #[error("internal error: {0}")]
    Internal(String),

    #[error("larger than {limit} bytes, the most that is compiled (--input-limit)")]
    TooLarge { limit: u64 },
    #[error("not a WebAssembly binary{0}")]
    NotWasm(&'static str),
    #[error("not a valid WebAssembly program: {0}")]
    Invalid(String),
    #[error(
        "uses {0} of the threads proposal, which Mote does not support: a program has one thread; build it without threads"
    )]
    NeedsThreads(&'static str),
    #[error("{}", missing(.0))]
    Imports(Vec<String>),
    #[error("not a program that Mote can run: {0}")]
    NotACommand(String),
}

impl Error {
    /// 2 for an input that is refused, 1 for everything else.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::TooLarge { .. }
            | Self::NotWasm(_)
            | Self::Invalid(_)
            | Self::NeedsThreads(_)
            | Self::Imports(_)
            | Self::NotACommand(_) => 2,
            _ => 1,
        }
    }
}

impl From<wasmparser::BinaryReaderError> for Error {
    fn from(e: wasmparser::BinaryReaderError) -> Error {
        Error::Invalid(e.to_string())
    }
}

/// Imports named in full before the rest is only counted.
const NAMED: usize = 8;

fn missing(imports: &[String]) -> String {
    let mut text = format!("imports {}", imports[..imports.len().min(NAMED)].join(", "));
    if imports.len() > NAMED {
        text += &format!(" and {} more", imports.len() - NAMED);
    }
    text += ", which Mote does not offer";
    if imports.iter().any(|i| i.starts_with("wasi_unstable")) {
        text += &format!(
            " (wasi_unstable came before {}; build it with a newer toolchain)",
            wasi::PREVIEW1_MODULE
        );
    } else if imports.iter().any(|i| i.contains("@0.3")) {
        text += " (WASI 0.3 is not supported; WASI 0.1 and 0.2 are)";
    }
    text
}

/// `text` without line breaks or control characters: what is printed may hold names from the input.
pub(crate) fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words
        .join(" ")
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_stay_on_one_line() {
        assert_eq!(one_line("a\n  b\r\tc\u{1b}[31m"), "a b c\u{fffd}[31m");
    }

    #[test]
    fn many_imports_are_counted() {
        let imports: Vec<String> = (0..10).map(|i| format!("env.f{i}")).collect();
        let text = Error::Imports(imports).to_string();
        assert!(text.starts_with("imports env.f0, "), "{text}");
        assert!(text.ends_with("and 2 more, which Mote does not offer"), "{text}");
    }
}
