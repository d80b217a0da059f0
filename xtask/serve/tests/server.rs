//! Requests of browsers, and requests that no browser makes.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use xtask_serve::Server;

fn get(server: &Server, target: &str) -> String {
    let mut stream = TcpStream::connect(server.url("").trim_start_matches("http://")).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn folders_are_served_and_nothing_else() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("served");
    let (site, shaders) = (folder.join("site"), folder.join("shaders"));
    for (folder, name, text) in [(&site, "index.html", "page"), (&shaders, "a.wgsl", "shader")] {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join(name), text).unwrap();
    }
    fs::write(folder.join("secret.txt"), "secret").unwrap();
    let server = Server::start(&[("/", &site), ("/shaders/", &shaders)]).unwrap();
    let cases = [
        ("/", "200", "text/html", "page"),
        ("/?a=b", "200", "text/html", "page"),
        ("/index.html#top", "200", "text/html", "page"),
        ("/shaders/a.wgsl", "200", "text/plain", "shader"),
        ("/a.wgsl", "404", "text/plain", ""),
        ("/../secret.txt", "404", "text/plain", ""),
        ("/shaders/../../secret.txt", "404", "text/plain", ""),
        ("/%2e%2e/secret.txt", "404", "text/plain", ""),
        ("//etc/passwd", "404", "text/plain", ""),
        ("", "404", "text/plain", ""),
    ];
    for (target, status, kind, body) in cases {
        let answer = get(&server, target);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {answer}");
        assert!(answer.contains(&format!("Content-Type: {kind}")), "{target}: {answer}");
        assert!(answer.ends_with(body) && !answer.contains("secret\n"), "{target}: {answer}");
    }
}
