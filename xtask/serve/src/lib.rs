//! A server of static files on 127.0.0.1, which browsers treat as a secure origin, so WebGPU works.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

/// Folders, with the path prefixes under which they are served.
type Mounts = Arc<Vec<(String, PathBuf)>>;

/// A running server. Its threads end with the process.
pub struct Server {
    address: SocketAddr,
}

impl Server {
    /// Serves folders under paths that begin and end with `/`, on a free port. The longest matching path wins.
    pub fn start(mounts: &[(&str, &Path)]) -> Result<Self> {
        Self::start_on(0, mounts)
    }

    /// The same on a given port.
    pub fn start_on(port: u16, mounts: &[(&str, &Path)]) -> Result<Self> {
        let mut mounts: Vec<_> = mounts.iter().map(|(path, folder)| (path.to_string(), folder.to_path_buf())).collect();
        mounts.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        let mounts = Arc::new(mounts);
        let listener = TcpListener::bind(("127.0.0.1", port)).with_context(|| format!("listening on port {port}"))?;
        let address = listener.local_addr()?;
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mounts = mounts.clone();
                // A browser that disconnects in the middle of a file is not an error.
                thread::spawn(move || drop(answer(stream, &mounts)));
            }
        });
        Ok(Self { address })
    }

    /// The address of a path that begins with `/`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// Answers one request and closes the connection.
fn answer(stream: TcpStream, mounts: &Mounts) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream.try_clone()?.take(16 << 10));
    let mut request = String::new();
    reader.read_line(&mut request)?;
    // The headers are not used, but a connection that is closed with unread bytes is reset.
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let mut words = request.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let file = file_of(target, mounts);
    let (status, kind, body) = match (method, file.map(|file| (media_type(&file), fs::read(&file)))) {
        ("GET" | "HEAD", Some((kind, Ok(bytes)))) => ("200 OK", kind, bytes),
        ("GET" | "HEAD", _) => ("404 Not Found", "text/plain", format!("there is no {target}\n").into_bytes()),
        _ => ("405 Method Not Allowed", "text/plain", b"only GET and HEAD\n".to_vec()),
    };
    // The two cross-origin headers give the page clocks of 5 microseconds instead of 100.
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         Cross-Origin-Opener-Policy: same-origin\r\nCross-Origin-Embedder-Policy: require-corp\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    let mut stream = stream;
    stream.write_all(head.as_bytes())?;
    if method != "HEAD" {
        stream.write_all(&body)?;
    }
    Ok(())
}

/// The file that a request asks for; `None` outside the folder. For a folder, its `index.html`.
fn file_of(target: &str, mounts: &Mounts) -> Option<PathBuf> {
    let path = target.split(['?', '#']).next()?;
    let (mount, folder) = mounts.iter().find(|(mount, _)| path.starts_with(mount.as_str()))?;
    let inside = Path::new(path.strip_prefix(mount.as_str())?);
    if !inside.components().all(|part| matches!(part, Component::Normal(_))) || path.contains(['%', '\\', ':']) {
        return None;
    }
    let file = folder.join(inside);
    Some(if path.ends_with('/') { file.join("index.html") } else { file })
}

fn media_type(file: &Path) -> &'static str {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("wasm") => "application/wasm",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("wgsl" | "txt" | "md" | "csv") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
