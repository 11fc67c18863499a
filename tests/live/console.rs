//! FreeSWITCH's console, over one connection to its event socket: fs_cli would make one for every command,
//! and each takes FreeSWITCH a while to forget.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::configuration::EVENT_SOCKET;
use super::network::Namespace;

/// A connection that has logged in.
pub struct Console(Mutex<BufReader<TcpStream>>);

impl Console {
    pub fn connect(server: &Namespace) -> io::Result<Console> {
        let stream = server.run(|| TcpStream::connect((Ipv4Addr::LOCALHOST, EVENT_SOCKET)))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut stream = BufReader::new(stream);
        read_reply(&mut stream)?;
        let console = Console(Mutex::new(stream));
        let reply = console.ask("auth ClueCon")?;
        if reply.starts_with("+OK") { Ok(console) } else { Err(io::Error::other(reply)) }
    }

    /// Runs a command and gives what it wrote.
    pub fn run(&self, command: &str) -> io::Result<String> {
        self.ask(&format!("api {command}"))
    }

    fn ask(&self, request: &str) -> io::Result<String> {
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stream.get_mut().write_all(format!("{request}\n\n").as_bytes())?;
        read_reply(&mut stream)
    }
}

/// A reply is a text in its header `Reply-Text`, or a body.
fn read_reply(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let (mut text, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end().split_once(": ") {
            Some(("Reply-Text", value)) => value.clone_into(&mut text),
            Some(("Content-Length", value)) => length = value.parse().map_err(io::Error::other)?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(text + String::from_utf8_lossy(&body).trim())
}
