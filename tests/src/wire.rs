//! HTTP/1.1 as far as loopback needs it: whole messages in memory, every length bounded.

use std::{
    io::{self, BufRead, Read, Write},
    net::TcpStream,
    time::Duration,
};

/// The longest line of a head, and the most lines.
const MAX_LINE: u64 = 64 << 10;
const MAX_HEADERS: usize = 200;
/// The longest body.
const MAX_BODY: u64 = 256 << 20;

/// A request or an answer: the first line, the headers in order, and the body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// `METHOD TARGET HTTP/1.1` or `HTTP/1.1 STATUS REASON`.
    pub first: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What says how long the body of an answer is, besides its headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The answer to `HEAD` has no body, whatever its headers say.
    Head,
    Other,
}

impl Message {
    /// A word of the first line.
    fn word(&self, number: usize) -> &str {
        self.first.split(' ').nth(number).unwrap_or_default()
    }

    /// The method of a request.
    pub fn method(&self) -> &str {
        self.word(0)
    }

    /// The path and query of a request.
    pub fn target(&self) -> &str {
        self.word(1)
    }

    /// The status of an answer.
    pub fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or_default()
    }

    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Puts this header in the place of all others of its name.
    pub fn set(&mut self, name: &str, value: &str) {
        self.headers.retain(|(found, _)| !found.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// First line and headers as they are sent.
    pub fn head(&self) -> Vec<u8> {
        let headers = self.headers.iter().map(|(name, value)| format!("{name}: {value}"));
        let lines: Vec<String> = [self.first.clone()].into_iter().chain(headers).collect();
        format!("{}\r\n\r\n", lines.join("\r\n")).into_bytes()
    }

    /// All of it as it is sent.
    pub fn bytes(&self) -> Vec<u8> {
        [self.head(), self.body.clone()].concat()
    }

    /// Reads a request; `None` if the peer had no more. `proceed` is called if it waits for leave to send its body.
    ///
    /// # Errors
    /// What the system says; invalid data for what is no request, or too long.
    pub fn read_request(
        reader: &mut impl BufRead,
        proceed: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<Option<Self>> {
        let Some(mut message) = Self::read_head(reader)? else { return Ok(None) };
        if message.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
            proceed()?;
        }
        message.body = match message.length()? {
            _ if message.is_chunked() => chunks(reader)?,
            Some(length) => exactly(reader, length)?,
            None => Vec::new(),
        };
        Ok(Some(message))
    }

    /// Reads an answer whose connection ends with it.
    ///
    /// # Errors
    /// What the system says; invalid data for what is no answer, or too long; an unexpected end.
    pub fn read_answer(reader: &mut impl BufRead, asked: Asked) -> io::Result<Self> {
        loop {
            let mut message = Self::read_head(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            match message.status() {
                100..200 => continue,
                204 | 304 => return Ok(message),
                _ if asked == Asked::Head => return Ok(message),
                _ => {}
            }
            message.body = match message.length()? {
                _ if message.is_chunked() => chunks(reader)?,
                Some(length) => exactly(reader, length)?,
                None => rest(reader)?,
            };
            return Ok(message);
        }
    }

    fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let Some(first) = line(reader)? else { return Ok(None) };
        let mut headers = Vec::new();
        loop {
            let text = line(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if text.is_empty() {
                return Ok(Some(Self { first, headers, body: Vec::new() }));
            }
            let (name, value) = text.split_once(':').ok_or_else(|| invalid("a header without a colon"))?;
            headers.push((name.to_owned(), value.trim().to_owned()));
            if headers.len() > MAX_HEADERS {
                return Err(invalid("too many headers"));
            }
        }
    }

    fn length(&self) -> io::Result<Option<u64>> {
        let parsed = self.header("content-length").map(str::parse);
        let length = parsed.transpose().map_err(|_| invalid("a length that is no number"))?;
        if length.is_some_and(|length| length > MAX_BODY) { Err(invalid("a body too long")) } else { Ok(length) }
    }

    fn is_chunked(&self) -> bool {
        self.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    }
}

/// Sends a request over a connection of its own and reads the answer.
///
/// # Errors
/// What the system says, also if there is no answer in time.
pub fn exchange(address: &str, request: &Message, patience: Duration) -> io::Result<Message> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.set_nodelay(true)?;
    let mut request = request.clone();
    request.set("Connection", "close");
    // A server that refuses early may answer and close before it has read everything: what it said counts.
    let sent = stream.write_all(&request.bytes());
    let asked = if request.method() == "HEAD" { Asked::Head } else { Asked::Other };
    let answer = Message::read_answer(&mut io::BufReader::new(stream), asked);
    if answer.is_err() {
        sent?;
    }
    answer
}

fn line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    reader.take(MAX_LINE).read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if bytes.pop() != Some(b'\n') {
        return Err(invalid("a line without an end"));
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    String::from_utf8(bytes).map(Some).map_err(|_| invalid("a line that is no text"))
}

fn exactly(reader: &mut impl BufRead, length: u64) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body)?;
    if body.len() as u64 == length { Ok(body) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn rest(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    reader.take(MAX_BODY + 1).read_to_end(&mut body)?;
    if body.len() as u64 > MAX_BODY { Err(invalid("a body too long")) } else { Ok(body) }
}

fn chunks(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = line(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| invalid("a chunk without a size"))?;
        if size > MAX_BODY - body.len() as u64 {
            return Err(invalid("a body too long"));
        }
        body.extend(exactly(reader, size)?);
        if size == 0 {
            // Trailers, and the empty line that ends them.
            while line(reader)?.is_some_and(|text| !text.is_empty()) {}
            return Ok(body);
        }
        line(reader)?;
    }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_are_read_whole() {
        let mut bytes: &[u8] =
            b"PUT /b/k?x=y HTTP/1.1\r\nHost: h\r\ncontent-length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n";
        let first = Message::read_request(&mut bytes, || Ok(())).expect("read").expect("one");
        assert_eq!((first.method(), first.target(), first.header("HOST")), ("PUT", "/b/k?x=y", Some("h")));
        assert_eq!(first.body, b"abc");
        let second = Message::read_request(&mut bytes, || Ok(())).expect("read").expect("one");
        assert_eq!((second.method(), second.body.len()), ("GET", 0));
        assert_eq!(Message::read_request(&mut bytes, || Ok(())).expect("read"), None);

        let answer = |mut bytes: &[u8], asked| Message::read_answer(&mut bytes, asked);
        let chunked = answer(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n",
            Asked::Other,
        );
        assert_eq!(chunked.expect("read").body, b"abcde");
        let head = answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", Asked::Head).expect("read");
        assert_eq!((head.status(), head.body.len()), (200, 0));
        assert_eq!(answer(b"HTTP/1.1 500 X\r\n\r\nrest", Asked::Other).expect("read").body, b"rest");
        answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", Asked::Other).expect_err("cut");
        answer(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n", Asked::Other).expect_err("long");
    }
}
