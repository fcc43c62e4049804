//! A few commands in one program, which goes by the name that it is called by, as BusyBox does: what images need whose
//! users call `sh -c`, `ls` or `cat` in them. There is no other process than this one, so the shell knows these commands
//! and no other, no pipes and no jobs.

mod commands;
mod shell;

fn main() {
    let mut words: Vec<String> = std::env::args().collect();
    if let Some(name) = words.first_mut() {
        *name = name.rsplit('/').next().unwrap_or_default().to_owned();
    }
    let code = match commands::run(&words) {
        Some(code) => code,
        None => {
            eprintln!("box: {:?} is none of its commands", words.first());
            127
        }
    };
    std::process::exit(code);
}
