//! The D-Bus wire format, as far as talking to systemd needs it (D-Bus Specification, "Message Protocol").

use casemate_spec::{Error, Result};

/// A message systemd may not exceed towards us; its longest answer here is a path.
const MAX_MESSAGE: usize = 1 << 20;

/// A property's value, sent as a variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Flag(bool),
    U64(u64),
    Numbers(Vec<u32>),
    Bytes(Vec<u8>),
    Texts(Vec<String>),
    Pairs(Vec<(String, String)>),
}

/// A named property of a unit.
pub(super) type Property = (&'static str, Value);

/// Arguments of a call and their signature.
#[derive(Debug, Default)]
pub(super) struct Body {
    bytes: Vec<u8>,
    signature: String,
}

impl Body {
    pub(super) fn text(mut self, text: &str) -> Result<Self> {
        put_text(&mut self.bytes, text)?;
        self.signature.push('s');
        Ok(self)
    }

    pub(super) fn flag(mut self, flag: bool) -> Self {
        put_u32(&mut self.bytes, u32::from(flag));
        self.signature.push('b');
        self
    }

    /// `a(sv)`
    pub(super) fn properties(mut self, properties: &[Property]) -> Result<Self> {
        let mut inner = Vec::new();
        for (name, value) in properties {
            pad(&mut inner, 8);
            put_text(&mut inner, name)?;
            put_variant(&mut inner, value)?;
        }
        put_array(&mut self.bytes, 8, &inner)?;
        self.signature.push_str("a(sv)");
        Ok(self)
    }

    /// An empty `a(sa(sv))`: no auxiliary units.
    pub(super) fn no_units(mut self) -> Result<Self> {
        put_array(&mut self.bytes, 8, &[])?;
        self.signature.push_str("a(sa(sv))");
        Ok(self)
    }
}

/// Where a call goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) destination: &'static str,
    pub(super) path: &'static str,
    pub(super) interface: &'static str,
}

/// A method call, ready to be sent.
pub(super) fn call(serial: u32, target: Target, member: &str, body: &Body) -> Result<Vec<u8>> {
    let mut fields = Vec::new();
    let strings =
        [(1, 'o', target.path), (2, 's', target.interface), (3, 's', member), (6, 's', target.destination)];
    for (code, kind, text) in strings {
        pad(&mut fields, 8);
        fields.push(code);
        put_signature(&mut fields, &kind.to_string())?;
        put_text(&mut fields, text)?;
    }
    if !body.signature.is_empty() {
        pad(&mut fields, 8);
        fields.push(8);
        put_signature(&mut fields, "g")?;
        put_signature(&mut fields, &body.signature)?;
    }
    // Little endian, method call, no flags, protocol 1.
    let mut message = vec![b'l', 1, 0, 1];
    put_u32(&mut message, length(body.bytes.len())?);
    put_u32(&mut message, serial);
    put_array(&mut message, 8, &fields)?;
    pad(&mut message, 8);
    message.extend_from_slice(&body.bytes);
    Ok(message)
}

/// What a message from the other side is.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// 2: answer, 3: error, 4: signal.
    pub(super) kind: u8,
    pub(super) member: String,
    pub(super) error: String,
    pub(super) answers: u32,
    pub(super) signature: String,
    pub(super) body: Vec<u8>,
}

impl Message {
    /// How many bytes follow the first 16 of a message.
    pub(super) fn rest(head: &[u8; 16]) -> Result<usize> {
        let mut reader = Reader { bytes: head, at: 0 };
        let start = reader.take(4)?;
        if start.first() != Some(&b'l') {
            return Err(broken("not a little-endian message"));
        }
        let body = reader.size()?;
        reader.u32()?;
        let fields = reader.size()?;
        match fields.checked_next_multiple_of(8).and_then(|fields| fields.checked_add(body)) {
            Some(rest) if rest <= MAX_MESSAGE => Ok(rest),
            _ => Err(broken("a message of more than 1 MiB")),
        }
    }

    /// Takes a whole message apart.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader { bytes, at: 0 };
        let mut message = Self { kind: reader.take(4)?.get(1).copied().unwrap_or(0), ..Self::default() };
        reader.u32()?;
        reader.u32()?;
        let fields = reader.size()?;
        let end = reader.at.checked_add(fields).ok_or_else(|| broken("too long"))?;
        while reader.at < end {
            reader.align(8)?;
            let code = reader.take(1)?.first().copied().unwrap_or(0);
            match reader.signature()?.as_str() {
                "u" => {
                    let value = reader.u32()?;
                    if code == 5 {
                        message.answers = value;
                    }
                }
                "s" | "o" => {
                    let text = reader.text()?;
                    match code {
                        3 => message.member = text,
                        4 => message.error = text,
                        _ => {}
                    }
                }
                "g" => {
                    let text = reader.signature()?;
                    if code == 8 {
                        message.signature = text;
                    }
                }
                other => return Err(broken(&format!("a header field of type {other:?}"))),
            }
        }
        reader.align(8)?;
        message.body = bytes.get(reader.at..).unwrap_or_default().to_vec();
        Ok(message)
    }

    /// The strings and object paths of the body, as far as it consists of such and of numbers.
    pub(super) fn texts(&self) -> Result<Vec<String>> {
        let mut reader = Reader { bytes: &self.body, at: 0 };
        let mut texts = Vec::new();
        for kind in self.signature.chars() {
            match kind {
                's' | 'o' => texts.push(reader.text()?),
                'u' => {
                    reader.u32()?;
                }
                'v' => {
                    let inner = reader.signature()?;
                    if inner != "s" {
                        return Err(broken(&format!("a variant of type {inner:?}")));
                    }
                    texts.push(reader.text()?);
                }
                _ => break,
            }
        }
        Ok(texts)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Result<Vec<u8>> {
        let end = self.at.checked_add(count).ok_or_else(|| broken("too long"))?;
        let taken = self.bytes.get(self.at..end).ok_or_else(|| broken("it ends too early"))?;
        self.at = end;
        Ok(taken.to_vec())
    }

    fn align(&mut self, to: usize) -> Result<()> {
        self.at = self.at.checked_next_multiple_of(to).ok_or_else(|| broken("too long"))?;
        Ok(())
    }

    fn u32(&mut self) -> Result<u32> {
        self.align(4)?;
        let bytes = self.take(4)?;
        let bytes = bytes.try_into().map_err(|_short| broken("it ends too early"))?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn size(&mut self) -> Result<usize> {
        usize::try_from(self.u32()?).map_err(|_huge| broken("too long"))
    }

    fn text(&mut self) -> Result<String> {
        let size = self.size()?;
        let bytes = self.take(size)?;
        self.take(1)?;
        String::from_utf8(bytes).map_err(|_bytes| broken("text that is not UTF-8"))
    }

    fn signature(&mut self) -> Result<String> {
        let size = self.take(1)?.first().copied().unwrap_or(0);
        let bytes = self.take(usize::from(size))?;
        self.take(1)?;
        String::from_utf8(bytes).map_err(|_bytes| broken("text that is not UTF-8"))
    }
}

fn put_variant(out: &mut Vec<u8>, value: &Value) -> Result<()> {
    let mut inner = Vec::new();
    match value {
        Value::Text(text) => {
            put_signature(out, "s")?;
            put_text(out, text)
        }
        Value::Flag(flag) => {
            put_signature(out, "b")?;
            put_u32(out, u32::from(*flag));
            Ok(())
        }
        Value::U64(number) => {
            put_signature(out, "t")?;
            pad(out, 8);
            out.extend_from_slice(&number.to_le_bytes());
            Ok(())
        }
        Value::Numbers(numbers) => {
            put_signature(out, "au")?;
            numbers.iter().for_each(|number| put_u32(&mut inner, *number));
            put_array(out, 4, &inner)
        }
        Value::Bytes(bytes) => {
            put_signature(out, "ay")?;
            put_array(out, 1, bytes)
        }
        Value::Texts(texts) => {
            put_signature(out, "as")?;
            texts.iter().try_for_each(|text| put_text(&mut inner, text))?;
            put_array(out, 4, &inner)
        }
        Value::Pairs(pairs) => {
            put_signature(out, "a(ss)")?;
            for (first, second) in pairs {
                pad(&mut inner, 8);
                put_text(&mut inner, first)?;
                put_text(&mut inner, second)?;
            }
            put_array(out, 8, &inner)
        }
    }
}

/// Length, padding to the elements' alignment, which the length does not count, and the elements; these were laid
/// out from offset 0, which has every alignment.
fn put_array(out: &mut Vec<u8>, alignment: usize, elements: &[u8]) -> Result<()> {
    put_u32(out, length(elements.len())?);
    pad(out, alignment);
    out.extend_from_slice(elements);
    Ok(())
}

fn put_text(out: &mut Vec<u8>, text: &str) -> Result<()> {
    if text.contains('\0') {
        return Err(Error::new("D-Bus message", format!("{text:?} holds a null character")));
    }
    put_u32(out, length(text.len())?);
    out.extend_from_slice(text.as_bytes());
    out.push(0);
    Ok(())
}

fn put_signature(out: &mut Vec<u8>, signature: &str) -> Result<()> {
    out.push(u8::try_from(signature.len()).map_err(|_long| broken("a signature too long"))?);
    out.extend_from_slice(signature.as_bytes());
    out.push(0);
    Ok(())
}

fn put_u32(out: &mut Vec<u8>, number: u32) {
    pad(out, 4);
    out.extend_from_slice(&number.to_le_bytes());
}

fn pad(out: &mut Vec<u8>, alignment: usize) {
    out.resize(out.len().next_multiple_of(alignment), 0);
}

fn length(length: usize) -> Result<u32> {
    u32::try_from(length).map_err(|_huge| broken("too long"))
}

fn broken(why: &str) -> Error {
    Error::new("D-Bus message", why)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TARGET: Target =
        Target { destination: "org.example", path: "/org/example", interface: "org.example.A" };

    #[test]
    fn what_is_written_can_be_read() {
        let body = Body::default().text("unit.scope").and_then(|b| b.text("replace")).unwrap();
        let bytes = call(7, TARGET, "StopUnit", &body).unwrap();
        let head: [u8; 16] = bytes[..16].try_into().unwrap();
        assert_eq!(Message::rest(&head).unwrap(), bytes.len() - 16);
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.kind, message.member.as_str()), (1, "StopUnit"));
        assert_eq!(message.texts().unwrap(), ["unit.scope", "replace"]);
    }

    #[test]
    fn properties_are_aligned_as_the_specification_says() {
        let body = Body::default().properties(&[("A", Value::U64(1)), ("Flag", Value::Flag(true))]).unwrap();
        #[rustfmt::skip]
        let want = [
            48, 0, 0, 0, 0, 0, 0, 0,
            1, 0, 0, 0, b'A', 0, 1, b't', 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
            4, 0, 0, 0, b'F', b'l', b'a', b'g', 0, 1, b'b', 0, 1, 0, 0, 0,
        ];
        // The second structure ends in a 4-byte boolean: nothing pads the end of an array.
        let mut have = body.bytes.clone();
        have[0] = 48;
        assert_eq!(have[8..], want[8..]);
        assert_eq!(usize::from(body.bytes[0]), want.len() - 8);
    }

    proptest! {
        #[test]
        fn no_bytes_from_the_other_side_break_us(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(message) = Message::parse(&bytes) {
                message.texts().ok();
            }
        }
    }
}
