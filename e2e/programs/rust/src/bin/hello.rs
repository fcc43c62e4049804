//! The sample program: says hello, shows its arguments, and `GREETING` if that is set.

fn main() {
    let wasi = if cfg!(target_env = "p1") { "0.1" } else { "0.2" };
    println!("hello from rust, wasi {wasi}");
    for (index, arg) in std::env::args().enumerate().skip(1) {
        println!("arg {index}: {arg}");
    }
    if let Ok(greeting) = std::env::var("GREETING") {
        println!("greeting: {greeting}");
    }
}
