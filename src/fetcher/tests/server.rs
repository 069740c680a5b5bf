//! A server on loopback that serves what it is given, and misbehaves where the path says so.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct Shared {
    files: BTreeMap<String, Vec<u8>>,
    requests: Vec<String>,
}

/// It ends with the test program; its connections end with their clients.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

impl Server {
    pub fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("address");
        let shared = Arc::new(Mutex::new(Shared::default()));
        let for_all = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = for_all.clone();
                std::thread::spawn(move || answer(client, &shared));
            }
        });
        Server { address, shared }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn put(&self, path: &str, content: Vec<u8>) {
        self.shared.lock().expect("lock").files.insert(path.to_string(), content);
    }

    pub fn requests(&self, path: &str) -> usize {
        self.shared.lock().expect("lock").requests.iter().filter(|each| *each == path).count()
    }
}

fn answer(mut client: TcpStream, shared: &Mutex<Shared>) {
    let mut reader = BufReader::new(client.try_clone().expect("clone"));
    let mut request = String::new();
    if reader.read_line(&mut request).is_err() {
        return;
    }
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
        line.clear();
    }
    let path = request.split(' ').nth(1).unwrap_or_default().to_string();
    shared.lock().expect("lock").requests.push(path.clone());
    let (head, body) = if let Some(code) = path.strip_prefix("/status/") {
        (format!("{code} Whatever\r\nContent-Length: 0"), Vec::new())
    } else if let Some(to) = path.strip_prefix("/redirect-to") {
        (format!("302 Found\r\nLocation: {to}\r\nContent-Length: 0"), Vec::new())
    } else if path == "/file-redirect" {
        ("302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0".to_string(), Vec::new())
    } else if path == "/stall" {
        ("200 OK\r\nContent-Length: 1000".to_string(), b"some, and then no more".to_vec())
    } else if path == "/endless" {
        ("200 OK".to_string(), Vec::new())
    } else if let Some(content) = shared.lock().expect("lock").files.get(&path) {
        (format!("200 OK\r\nContent-Length: {}", content.len()), content.clone())
    } else {
        ("404 Not Found\r\nContent-Length: 9".to_string(), b"no such x".to_vec())
    };
    let _ = client.write_all(format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").as_bytes());
    let _ = client.write_all(&body);
    match path.as_str() {
        "/endless" => while client.write_all(&[b'x'; 65536]).is_ok() {},
        // Until the client has gone.
        "/stall" => drop(reader.read_to_end(&mut Vec::new())),
        _ => {}
    }
}
