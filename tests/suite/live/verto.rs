//! A Verto client that can log in and nothing else.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::fail2ban::network::Peer;

/// Logs in over a WebSocket; whether it was let in.
pub fn login(from: &Peer, server: SocketAddr, user: &str, password: &str) -> bool {
    login_with(from, server, user, password, &json!({}))
}

/// The same with `loginParams`, which Verto passes on to whoever looks the user up.
pub fn login_with(from: &Peer, server: SocketAddr, user: &str, password: &str, params: &Value) -> bool {
    let stream = from.namespace.run(|| TcpStream::connect(server)).expect("Verto listens");
    login_over(stream, server, user, password, params).expect("an answer")
}

/// The same where a firewall may drop what is sent: `None` if no answer comes.
pub fn try_login(from: &Peer, server: SocketAddr, user: &str, password: &str) -> Option<bool> {
    let connect = || TcpStream::connect_timeout(&server, Duration::from_secs(2));
    let stream = from.namespace.run(connect).ok()?;
    login_over(stream, server, user, password, &json!({})).ok()
}

fn login_over(
    mut stream: TcpStream,
    server: SocketAddr,
    user: &str,
    password: &str,
    params: &Value,
) -> io::Result<bool> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let upgrade = format!(
        "GET / HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: bGl2ZSB0ZXN0IGtleSAhIQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(upgrade.as_bytes())?;
    let upgraded = read_until(&mut stream, |text| text.contains("\r\n\r\n"))?;
    assert!(upgraded.starts_with("HTTP/1.1 101 "), "{upgraded}");

    let id = "00000000-0000-4000-8000-000000000001";
    let login = json!({
        "jsonrpc": "2.0", "method": "login", "id": 1,
        "params": { "login": user, "passwd": password, "sessid": id, "loginParams": params }
    });
    stream.write_all(&masked_text(login.to_string().as_bytes()))?;
    let answer = read_until(&mut stream, |text| text.contains("\"result\"") || text.contains("\"error\""))?;
    Ok(answer.contains("\"result\""))
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

fn read_until(stream: &mut TcpStream, done: impl Fn(&str) -> bool) -> io::Result<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if done(&text) {
            return Ok(text);
        }
        let mut more = [0; 4096];
        let size = stream.read(&mut more)?;
        if size == 0 {
            return Err(io::Error::other(format!("hung up after {text:?}")));
        }
        bytes.extend_from_slice(&more[..size]);
    }
}
