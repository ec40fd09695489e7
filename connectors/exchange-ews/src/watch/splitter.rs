//! Cuts a body of many envelopes into documents.
//!
//! GetStreamingEvents answers with complete SOAP envelopes one after another, with nothing between them, in chunks
//! whose borders mean nothing: a chunk may hold several envelopes, and one envelope may come in many. What a chunk
//! brings is looked at once, byte by byte; only what belongs to the document under way is kept.

/// The largest document that is put together, in bytes. An envelope about 200 mailboxes has far less.
pub(crate) const MAX_DOCUMENT: usize = 4 * 1024 * 1024;

/// Why a body cannot be cut. The stream is of no use from there on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SplitError {
    /// Something else than XML stands between two documents, or before the first.
    #[error("the stream holds something else than XML documents")]
    NotXml,
    /// More end tags than start tags, or a construct that no SOAP document has.
    #[error("the stream holds malformed XML")]
    Malformed,
    /// A document that does not end.
    #[error("the stream holds a document of more than {MAX_DOCUMENT} bytes")]
    TooLarge,
}

/// Where in the XML the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In text, or between documents.
    Text,
    /// After `<`.
    Tag,
    /// In a start tag; whether its last byte was a slash.
    Start { slash: bool },
    /// In an attribute's value.
    Quoted { by: u8 },
    /// In an end tag.
    End,
    /// In `<?...?>`, after a question mark.
    Instruction { mark: bool },
    /// After `<!`.
    Bang,
    /// In a comment; how many dashes in a row came last.
    Comment { dashes: usize },
    /// In a CDATA section; how many brackets in a row came last.
    Data { brackets: usize },
}

const COMMENT: &[u8] = b"--";
const CDATA: &[u8] = b"[CDATA[";
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The cutter.
#[derive(Debug)]
pub(crate) struct Splitter {
    document: Vec<u8>,
    state: State,
    depth: usize,
    /// Whether the document's element has begun.
    rooted: bool,
    /// What was read after `<!`.
    bang: Vec<u8>,
    most: usize,
}

impl Default for Splitter {
    fn default() -> Self {
        Self::bounded(MAX_DOCUMENT)
    }
}

impl Splitter {
    /// For documents of at most so many bytes.
    pub(crate) fn bounded(most: usize) -> Self {
        Self {
            document: Vec::new(),
            state: State::Text,
            depth: 0,
            rooted: false,
            bang: Vec::new(),
            most,
        }
    }

    /// Takes the next bytes; gives the documents that are complete with them.
    ///
    /// # Errors
    /// The body cannot be cut further; nothing may be pushed after that.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, SplitError> {
        let mut complete = Vec::new();
        for byte in bytes {
            if self.take(*byte)? {
                let document = std::mem::take(&mut self.document);
                self.rooted = false;
                complete.push(String::from_utf8_lossy(&document).into_owned());
            }
        }
        Ok(complete)
    }

    /// How many bytes of an incomplete document are kept.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn kept(&self) -> usize {
        self.document.len()
    }

    /// True if the document ends with this byte.
    fn take(&mut self, byte: u8) -> Result<bool, SplitError> {
        if self.document.is_empty() && byte.is_ascii_whitespace() {
            return Ok(false);
        }
        if self.document.len() >= self.most {
            return Err(SplitError::TooLarge);
        }
        self.document.push(byte);
        if self.depth == 0 && self.state == State::Text && byte != b'<' {
            return self.outside(byte);
        }
        self.state = match (self.state, byte) {
            (State::Text, b'<') => State::Tag,
            (State::Text, _) => State::Text,
            (State::Tag, b'!') => {
                self.bang.clear();
                State::Bang
            }
            (State::Tag, b'?') => State::Instruction { mark: false },
            (State::Tag, b'/') => State::End,
            (State::Tag, b'<' | b'>') => return Err(SplitError::Malformed),
            (State::Tag, _) => {
                self.depth += 1;
                self.rooted = true;
                State::Start { slash: false }
            }
            (State::Start { .. }, b'"' | b'\'') => State::Quoted { by: byte },
            (State::Start { .. }, b'<') => return Err(SplitError::Malformed),
            (State::Start { slash }, b'>') => {
                self.depth -= usize::from(slash);
                State::Text
            }
            (State::Start { .. }, _) => State::Start {
                slash: byte == b'/',
            },
            (State::Quoted { by }, _) if byte == by => State::Start { slash: false },
            (State::Quoted { by }, _) => State::Quoted { by },
            (State::End, b'>') => {
                self.depth = self.depth.checked_sub(1).ok_or(SplitError::Malformed)?;
                State::Text
            }
            (State::End, b'<') => return Err(SplitError::Malformed),
            (State::End, _) => State::End,
            (State::Instruction { mark: true }, b'>') => State::Text,
            (State::Instruction { .. }, _) => State::Instruction { mark: byte == b'?' },
            (State::Bang, _) => self.bang(byte)?,
            (State::Comment { dashes: 2.. }, b'>') => State::Text,
            (State::Comment { dashes }, b'-') => State::Comment {
                dashes: (dashes + 1).min(2),
            },
            (State::Comment { .. }, _) => State::Comment { dashes: 0 },
            (State::Data { brackets: 2.. }, b'>') => State::Text,
            (State::Data { brackets }, b']') => State::Data {
                brackets: (brackets + 1).min(2),
            },
            (State::Data { .. }, _) => State::Data { brackets: 0 },
        };
        Ok(self.state == State::Text && self.depth == 0 && self.rooted)
    }

    /// Between documents there may be a byte order mark, and white space behind a declaration.
    fn outside(&mut self, byte: u8) -> Result<bool, SplitError> {
        if self.document.len() <= BYTE_ORDER_MARK.len()
            && BYTE_ORDER_MARK.starts_with(&self.document)
        {
            if self.document == BYTE_ORDER_MARK {
                self.document.clear();
            }
            return Ok(false);
        }
        if byte.is_ascii_whitespace() {
            return Ok(false);
        }
        Err(SplitError::NotXml)
    }

    /// A comment or a CDATA section; a document type declaration is refused.
    fn bang(&mut self, byte: u8) -> Result<State, SplitError> {
        self.bang.push(byte);
        if self.bang == COMMENT {
            return Ok(State::Comment { dashes: 0 });
        }
        if self.bang == CDATA && self.depth > 0 {
            return Ok(State::Data { brackets: 0 });
        }
        if COMMENT.starts_with(&self.bang) || CDATA.starts_with(&self.bang) {
            return Ok(State::Bang);
        }
        Err(SplitError::Malformed)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Cuts a body that comes in pieces of so many bytes.
    fn cut(body: &[u8], size: usize) -> Result<Vec<String>, SplitError> {
        let mut splitter = Splitter::default();
        let mut found = Vec::new();
        for piece in body.chunks(size) {
            found.extend(splitter.push(piece)?);
        }
        Ok(found)
    }

    const HARD: [&str; 6] = [
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><s:Envelope a='>' b=\"</s:Envelope>'\"><s:Body/></s:Envelope>",
        "<s:Envelope><!-- </s:Envelope> - -- ><b> --><s:Body>a &gt; ]]&gt; æøå</s:Body></s:Envelope>",
        "<s:Envelope><![CDATA[</s:Envelope>]>]] ><x>]]]]><s:Body x = '1' /></s:Envelope >",
        "<s:Envelope/>",
        "<?xml version='1.0'?>\r\n<!-- a > b --><s:Envelope><?a ?? > b?><c></c></s:Envelope>",
        "<a><a><a/></a><a></a></a>",
    ];

    #[test]
    fn documents_are_found_wherever_the_borders_of_chunks_lie() {
        let joined = HARD.concat();
        for size in 1..=joined.len() {
            assert_eq!(cut(joined.as_bytes(), size).unwrap(), HARD, "{size}");
        }
    }

    #[test]
    fn white_space_and_byte_order_marks_between_documents_are_left_out() {
        let body = HARD.map(|one| format!("\u{feff}{one}\r\n \n")).concat();
        for size in [1, 2, 3, 7, body.len()] {
            assert_eq!(cut(body.as_bytes(), size).unwrap(), HARD, "{size}");
        }
    }

    #[test]
    fn what_is_no_xml_is_refused_at_once() {
        for (body, error) in [
            ("HTTP/1.1 200 OK", SplitError::NotXml),
            ("<a/>and more", SplitError::NotXml),
            ("\u{feff}\u{feff}x", SplitError::NotXml),
            ("</a>", SplitError::Malformed),
            ("<!DOCTYPE html><html>", SplitError::Malformed),
            ("<![CDATA[x]]>", SplitError::Malformed),
            ("<<a>", SplitError::Malformed),
            ("<a <b>", SplitError::Malformed),
        ] {
            assert_eq!(cut(body.as_bytes(), 1), Err(error), "{body}");
            assert_eq!(cut(body.as_bytes(), 100), Err(error), "{body}");
        }
    }

    #[test]
    fn a_document_that_does_not_end_is_given_up() {
        let mut splitter = Splitter::bounded(1000);
        assert_eq!(splitter.push(b"<a>").unwrap(), Vec::<String>::new());
        assert!(splitter.push(&[b'x'; 900]).is_ok());
        assert_eq!(splitter.kept(), 903);
        assert_eq!(splitter.push(&[b'x'; 200]), Err(SplitError::TooLarge));
        // What lies between documents costs nothing.
        let mut splitter = Splitter::bounded(10);
        for _ in 0..100 {
            assert!(splitter.push(b" \r\n<a/>").is_ok());
        }
        assert_eq!(splitter.kept(), 0);
    }

    proptest! {
        #[test]
        fn the_borders_of_chunks_change_nothing(
            body in "([<>/!?\\[\\]\\-'\" =a&]|<a>|</a>|<a/>|<!--|-->|<!\\[CDATA\\[|\\]\\]>){0,40}",
            size in 1..7_usize,
        ) {
            let whole = cut(body.as_bytes(), body.len().max(1));
            prop_assert_eq!(cut(body.as_bytes(), size), whole);
        }
    }
}
