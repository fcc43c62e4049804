//! A command that asks each URL of its arguments for what is there.

#[path = "../fetch.rs"]
mod fetch;

fn main() {
    for url in std::env::args().skip(1) {
        println!("{}", fetch::fetch(&url));
    }
}
