//! Percent encoding, as the HTTP binding of CloudEvents writes attributes and as paths write subjects.

use bytestring::ByteString;

/// What the HTTP binding leaves as it is: printable ASCII without space, double quote and percent.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'%')
}

pub(super) fn encode(value: &ByteString) -> ByteString {
    if value.bytes().all(is_plain) {
        return value.clone();
    }
    let mut written = String::with_capacity(value.len() + 16);
    for byte in value.bytes() {
        if is_plain(byte) {
            written.push(char::from(byte));
        } else {
            const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
            written.push('%');
            written.push(char::from(DIGITS[usize::from(byte >> 4)]));
            written.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    written.into()
}

/// `None` when the result is not UTF-8. A percent sign without two digits stands for itself.
pub(super) fn decode(written: &ByteString) -> Option<ByteString> {
    if !written.contains('%') {
        return Some(written.clone());
    }
    let bytes = written.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16));
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte == b'%'
            && let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2))
        {
            decoded.push((high << 4 | low) as u8);
            at += 3;
        } else {
            decoded.push(byte);
            at += 1;
        }
    }
    ByteString::try_from(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_encoding_stands_for_itself_and_what_is_no_text_is_refused() {
        for (written, decoded) in [
            ("a", Some("a")),
            ("%41%62", Some("Ab")),
            ("%c3%A4", Some("ä")),
            ("100%", Some("100%")),
            ("%4", Some("%4")),
            ("%zz%%41", Some("%zz%A")),
            ("%ff", None),
        ] {
            assert_eq!(decode(&written.into()).as_deref(), decoded, "{written}");
        }
    }

    proptest::proptest! {
        #[test]
        fn encoding_reads_what_it_wrote(text in ".{0,40}") {
            let written = encode(&text.as_str().into());
            proptest::prop_assert!(written.bytes().all(|b| b.is_ascii_graphic()));
            proptest::prop_assert_eq!(decode(&written), Some(text.into()));
        }

        #[test]
        fn nothing_makes_the_decoder_panic(written in "[%0-9a-fA-Fé]{0,12}") {
            let _ = decode(&written.into());
        }
    }
}
