//! Images of ours in place of those that critest names: a Wasm program of a few commands where it wants BusyBox, and one
//! that listens on a socket where it wants a web server.

use mote_e2e::images::{Form, Image};
use mote_e2e::paths;

/// What critest lets one choose. (its `--test-images-file`)
pub(crate) const LIST: &str =
    "defaultTestContainerImage: mote.test/box:1\nwebServerTestImage: mote.test/web:1\n";

/// The commands of `e2e/programs/rust/src/bin/box`.
const COMMANDS: [&str; 13] = [
    "[", "cat", "dd", "echo", "false", "hostname", "ls", "sh", "sleep", "test", "top", "touch", "true",
];

/// The users and groups that critest names. (its `images/image-predefined-group/Dockerfile`)
const PASSWD: &str =
    "root:x:0:0::/:\nwww-data:x:33:33::/:\ndefault-user:x:1000:1000::/:\nnobody:x:65534:65534::/:\n";
const GROUP: &str = "root:x:0:\nwww-data:x:33:\nusers:x:100:\ndefault-user:x:1000:\n\
                     group-defined-in-image:x:50000:default-user\nnobody:x:65534:\n";

/// The images by the last part of their repository's name, which is all that the registry looks at.
pub(crate) fn repositories() -> Vec<Image> {
    let mut all = vec![
        shell("box"),
        web("web", 80),
        // Names that critest does not let one choose. (its `pkg/validate/{consts,multi_container_linux,
        // security_context_linux}.go`)
        web("httpd", 80),
        web("nginx", 80),
        web("hostnet-nginx-amd64", 12003),
        shell("nonewprivs").entrypoint(&["sh", "-c", "id"]),
        shell("test-image-predefined-group").user("1000"),
        shell("test-image-user-uid").user("1002"),
        shell("test-image-user-uid-group").user("1003:users"),
        shell("test-image-user-username").user("www-data"),
        shell("test-image-user-username-group").user("www-data:100"),
    ];
    for name in ["latest", "tag", "digest", "1", "2", "3", "tags"] {
        all.push(shell(&format!("test-image-{name}")));
    }
    all
}

/// An image with the commands in `/bin`.
fn shell(name: &str) -> Image {
    let image = Image::new(name, Form::LinuxRootfs, Vec::new()).entrypoint(&["sh"]);
    with_commands(image)
}

fn with_commands(image: Image) -> Image {
    let mut image = image
        .file("bin/box", &paths::program_bytes("box-rust-p1"))
        .file("etc/passwd", PASSWD.as_bytes())
        .file("etc/group", GROUP.as_bytes())
        .file("tmp/.empty", b"");
    for command in COMMANDS {
        image = image.link(&format!("bin/{command}"), "box");
    }
    image
}

/// An image whose program listens at this port; the commands are there, too.
fn web(name: &str, port: u16) -> Image {
    let image = Image::program(name, Form::LinuxRootfs, "web-rust-p2");
    with_commands(image).entrypoint(&["/app.wasm", name, &port.to_string()])
}
