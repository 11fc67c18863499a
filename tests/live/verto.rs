//! A Verto client that can log in and nothing else.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::json;

use super::fail2ban::network::Peer;

/// Logs in over a WebSocket; whether it was let in.
pub fn login(from: &Peer, server: SocketAddr, user: &str, password: &str) -> bool {
    let mut stream = from.namespace.run(|| TcpStream::connect(server)).expect("Verto listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("it has a time limit");
    let upgrade = format!(
        "GET / HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: bGl2ZSB0ZXN0IGtleSAhIQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(upgrade.as_bytes()).expect("the request is sent");
    let upgraded = read_until(&mut stream, |text| text.contains("\r\n\r\n"));
    assert!(upgraded.starts_with("HTTP/1.1 101 "), "{upgraded}");

    let id = "00000000-0000-4000-8000-000000000001";
    let login = json!({
        "jsonrpc": "2.0", "method": "login", "id": 1,
        "params": { "login": user, "passwd": password, "sessid": id }
    });
    stream.write_all(&masked_text(login.to_string().as_bytes())).expect("the login is sent");
    let answer = read_until(&mut stream, |text| text.contains("\"result\"") || text.contains("\"error\""));
    answer.contains("\"result\"")
}

/// One whole text frame, as clients send it.
fn masked_text(text: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let length = u16::try_from(text.len()).expect("a short text");
    let mut frame = vec![0x81];
    match length {
        0..126 => frame.push(0x80 | length as u8),
        _ => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(text.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn read_until(stream: &mut TcpStream, done: impl Fn(&str) -> bool) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if done(&text) {
            return text;
        }
        let mut more = [0; 4096];
        let size = stream.read(&mut more).expect("an answer");
        assert!(size > 0, "hung up after {text:?}");
        bytes.extend_from_slice(&more[..size]);
    }
}
