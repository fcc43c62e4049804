//! The shell: lists with `;`, `&&` and `||`, `while`, quotes. Everything else of a shell's language is an error.

use std::io::{self, BufRead};

use crate::commands;

/// `sh -c TEXT`, or `sh` with its commands on standard input.
pub fn main(words: &[String]) -> i32 {
    match words {
        [option, text, ..] if option == "-c" => run(text),
        [] => {
            let mut code = 0;
            for line in io::stdin().lock().lines().map_while(Result::ok) {
                code = run(&line);
            }
            code
        }
        _ => {
            eprintln!("sh: {words:?} is not understood");
            2
        }
    }
}

fn run(text: &str) -> i32 {
    let parsed = tokens(text).and_then(|tokens| {
        let mut parser = Parser { tokens, at: 0 };
        let list = parser.list(&[])?;
        parser.end()?;
        Ok(list)
    });
    match parsed {
        Ok(list) => list.run(),
        Err(message) => {
            eprintln!("sh: {message}");
            2
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    /// `;`, `&&` or `||`.
    Operator(&'static str),
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        let operator = match char {
            ';' | '\n' => ";",
            '&' if chars.next_if_eq(&'&').is_some() => "&&",
            '|' if chars.next_if_eq(&'|').is_some() => "||",
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some(next) if next == char => break,
                        Some('$' | '`') if char == '"' => return Err("no expansions".into()),
                        Some(next) => word.push(next),
                        None => return Err(format!("no closing {char}")),
                    }
                }
                continue;
            }
            '&' | '|' | '<' | '>' | '$' | '`' | '(' | ')' | '*' | '?' | '\\' => {
                return Err(format!("{char:?} is not understood"));
            }
            char if char.is_whitespace() => "",
            char => {
                word.get_or_insert_default().push(char);
                continue;
            }
        };
        tokens.extend(word.take().map(Token::Word));
        if !operator.is_empty() {
            tokens.push(Token::Operator(operator));
        }
    }
    tokens.extend(word.map(Token::Word));
    Ok(tokens)
}

/// Commands, each with what has to be before it: nothing, success or failure.
struct List(Vec<(&'static str, Command)>);

enum Command {
    Simple(Vec<String>),
    While { condition: List, body: List },
}

impl List {
    fn run(&self) -> i32 {
        let mut code = 0;
        for (join, command) in &self.0 {
            let runs = match *join {
                "&&" => code == 0,
                "||" => code != 0,
                _ => true,
            };
            if runs {
                code = command.run();
            }
        }
        code
    }
}

impl Command {
    fn run(&self) -> i32 {
        match self {
            Command::Simple(words) => commands::run(words).unwrap_or_else(|| {
                eprintln!("sh: {}: not found", words[0]);
                127
            }),
            Command::While { condition, body } => {
                let mut code = 0;
                while condition.run() == 0 {
                    code = body.run();
                }
                code
            }
        }
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    /// Whether the next token is this word, which is then taken.
    fn takes(&mut self, word: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some(Token::Word(next)) if next == word);
        self.at += usize::from(found);
        found
    }

    /// Commands up to one of these words, or the end.
    fn list(&mut self, until: &[&str]) -> Result<List, String> {
        let mut list = Vec::new();
        let mut join = ";";
        loop {
            match self.tokens.get(self.at) {
                None => break,
                Some(Token::Word(word)) if until.contains(&word.as_str()) => break,
                Some(Token::Word(_)) => list.push((join, self.command()?)),
                Some(Token::Operator(operator)) => {
                    join = operator;
                    self.at += 1;
                }
            }
        }
        Ok(List(list))
    }

    fn command(&mut self) -> Result<Command, String> {
        if self.takes("while") {
            let condition = self.list(&["do"])?;
            self.expect("do")?;
            let body = self.list(&["done"])?;
            self.expect("done")?;
            return Ok(Command::While { condition, body });
        }
        let mut words = Vec::new();
        while let Some(Token::Word(word)) = self.tokens.get(self.at) {
            words.push(word.clone());
            self.at += 1;
        }
        Ok(Command::Simple(words))
    }

    fn expect(&mut self, word: &str) -> Result<(), String> {
        if self.takes(word) {
            Ok(())
        } else {
            Err(format!("no {word}"))
        }
    }

    fn end(&self) -> Result<(), String> {
        match self.tokens.get(self.at) {
            None => Ok(()),
            Some(token) => Err(format!("{token:?} is out of place")),
        }
    }
}
