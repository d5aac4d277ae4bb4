//! Words, numbers and punctuation of PTX.

use super::module::LoadError;

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A name, an instruction with its dots, a directive or a number.
    Word(String),
    /// A character by itself.
    Mark(char),
    /// A text between quotes.
    Text,
}

/// The tokens and their lines, without comments.
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, u32)>, LoadError> {
    let mut found = Vec::new();
    let mut line = 1;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let error = |message: &str| {
            Err(LoadError { message: message.to_owned(), line, text: String::new() })
        };
        if rest.starts_with("//") {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
        } else if rest.starts_with("/*") {
            let Some(end) = rest.find("*/") else { return error("a comment without an end") };
            line += rest[..end].matches('\n').count() as u32;
            rest = &rest[end + 2..];
        } else if c == '\n' {
            line += 1;
            rest = &rest[1..];
        } else if c.is_whitespace() || c == '\0' {
            rest = &rest[c.len_utf8()..];
        } else if c == '"' {
            let Some(end) = rest[1..].find('"') else { return error("a text without an end") };
            found.push((Token::Text, line));
            rest = &rest[end + 2..];
        } else if is_word(c) {
            // `::` joins the parts of a modifier, a single colon ends a label.
            let mut end = 0;
            loop {
                end += rest[end..].find(|c| !is_word(c)).unwrap_or(rest.len() - end);
                if !rest[end..].starts_with("::") {
                    break;
                }
                end += 2;
            }
            found.push((Token::Word(rest[..end].to_owned()), line));
            rest = &rest[end..];
        } else if c.is_ascii_punctuation() {
            found.push((Token::Mark(c), line));
            rest = &rest[1..];
        } else {
            return error(&format!("the character {c:?} is not PTX"));
        }
    }
    Ok(found)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '.' | '%')
}
