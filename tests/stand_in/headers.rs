//! The headers of an event as requests give them: an object, or a list of pairs where order or repetition
//! matter. A value is a text, or `{"hex": "…"}` for bytes that are no text.

use std::ffi::CString;

use serde_json::Value;

/// Names and values, in their order.
pub type Headers = Vec<(CString, CString)>;

/// Reads them.
pub fn parse(event: &Value) -> Result<Headers, String> {
    match event {
        Value::Object(members) => members.iter().map(|(name, value)| header(name, value)).collect(),
        Value::Array(pairs) => pairs.iter().map(pair).collect(),
        _ => Err("an event is an object or a list of pairs".into()),
    }
}

fn pair(pair: &Value) -> Result<(CString, CString), String> {
    match pair.as_array().map(Vec::as_slice) {
        Some([Value::String(name), value]) => header(name, value),
        _ => Err(format!("not a name and a value: {pair}")),
    }
}

fn header(name: &str, value: &Value) -> Result<(CString, CString), String> {
    let bytes = match value {
        Value::String(text) => text.clone().into_bytes(),
        Value::Object(hex) => hex.get("hex").and_then(Value::as_str).and_then(from_hex).ok_or("not hex")?,
        _ => return Err(format!("not a value of a header: {value}")),
    };
    let c_string =
        |bytes: Vec<u8>| CString::new(bytes).map_err(|_| format!("{name}: C has no zero bytes in texts"));
    Ok((c_string(name.to_owned().into_bytes())?, c_string(bytes)?))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// With `{n}` in the values replaced by a number.
pub fn numbered(headers: &Headers, number: usize) -> Headers {
    let number = number.to_string();
    let replaced = |value: &CString| {
        CString::new(replace(value.to_bytes(), b"{n}", number.as_bytes())).unwrap_or_default()
    };
    headers.iter().map(|(name, value)| (name.clone(), replaced(value))).collect()
}

fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    match text.windows(from.len()).position(|window| window == from) {
        Some(at) => [&text[..at], to, &replace(&text[at + from.len()..], from, to)].concat(),
        None => text.to_vec(),
    }
}
