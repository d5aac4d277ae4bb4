//! The token that a client sends as `Authorization: Bearer TOKEN` (RFC 6750).
//!
//! It comes from a file or a variable, never from the command line, which every user of the machine can read. It is
//! compared in constant time, so that the time of a response does not show how many of its characters are right.

use std::{
    fmt, fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use axum::http::{HeaderMap, header::AUTHORIZATION};
use subtle::ConstantTimeEq as _;

/// The least number of characters: 16 random ones cannot be guessed over a network.
const SHORTEST: usize = 16;

/// Why a text is not a token.
const NO_TOKEN: &str =
    "the token must consist of visible ASCII characters, on one line, without spaces";

/// A token; its text is never printed.
#[derive(Clone)]
pub struct Token {
    text: String,
    /// The file that it was read from, if every user of the machine can read it too.
    open_file: Option<PathBuf>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// Returns a token of at least 16 visible ASCII characters; white space around it is ignored.
    ///
    /// # Errors
    /// Other texts.
    pub fn new(text: &str) -> Result<Token, String> {
        let text = text.trim();
        let n = text.chars().count();
        if n < SHORTEST {
            return Err(format!(
                "the token has {n} characters: use {SHORTEST} or more, such as those of `openssl rand -hex 32`"
            ));
        }
        if !text.chars().all(|it| it.is_ascii_graphic()) {
            return Err(NO_TOKEN.to_owned());
        }
        Ok(Token { text: text.to_owned(), open_file: None })
    }

    /// Reads a token from a file.
    ///
    /// # Errors
    /// A file that cannot be read, or is not a token.
    pub fn read(path: &Path) -> Result<Token, String> {
        let at = |err: String| format!("{}: {err}", path.display());
        let text = fs::read_to_string(path).map_err(|err| {
            at(match err.kind() {
                io::ErrorKind::NotFound => {
                    let file = path.display();
                    format!("there is no such file: make one with `openssl rand -hex 32 > {file}`")
                }
                io::ErrorKind::InvalidData => NO_TOKEN.to_owned(),
                _ => format!("{err}: name a file that this user can read"),
            })
        })?;
        let token = Token::new(&text).map_err(at)?;
        Ok(Token { open_file: is_open(path).then(|| path.to_owned()), ..token })
    }

    /// The file that it was read from, if every user of the machine can read it too.
    pub(crate) fn open_file(&self) -> Option<&Path> {
        self.open_file.as_deref()
    }

    /// Whether a request has this token.
    pub(crate) fn is_in(&self, headers: &HeaderMap) -> bool {
        let sent = headers.get(AUTHORIZATION).map(|it| it.as_bytes()).and_then(bearer);
        sent.is_some_and(|it| it.ct_eq(self.text.as_bytes()).into())
    }
}

/// Returns whether every user of the machine can read a file.
fn is_open(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|it| it.permissions().mode() & 0o004 != 0)
}

/// Returns what follows the scheme, whose case does not matter.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

    use super::Token;

    #[test]
    fn only_the_whole_token_with_its_scheme_is_accepted() {
        let token = Token::new(" 0123456789abcdef\n").unwrap();
        let is_in = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            token.is_in(&headers)
        };
        assert!(is_in("Bearer 0123456789abcdef") && is_in("bearer  0123456789abcdef"));
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdeg",
            "Bearer 0123456789abcdef0",
            "0123456789abcdef",
            "Basic 0123456789abcdef",
        ] {
            assert!(!is_in(wrong), "{wrong}");
        }
        assert!(!token.is_in(&HeaderMap::new()));
        assert_eq!(format!("{token:?}"), "Token(..)");
    }

    #[test]
    fn weak_and_unsendable_tokens_are_refused() {
        let err = Token::new("secret").unwrap_err();
        assert!(err.starts_with("the token has 6 characters: use 16 or more"), "{err}");
        for wrong in ["0123456789 abcdef", "0123456789\nabcdef", "0123456789äbcdef"] {
            assert!(Token::new(wrong).unwrap_err().contains("visible ASCII"), "{wrong:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        assert!(Token::read(&path).unwrap_err().starts_with(&path.display().to_string()));
        std::fs::write(&path, b"0123456789abcdef\xff").unwrap();
        assert!(Token::read(&path).unwrap_err().contains("visible ASCII"));
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        Token::read(&path).unwrap();
    }

    #[test]
    fn a_file_that_everyone_can_read_is_noticed() {
        use std::{fs, os::unix::fs::PermissionsExt as _};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "0123456789abcdef\n").unwrap();
        for (mode, is_open) in [(0o600, false), (0o640, false), (0o644, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(Token::read(&path).unwrap().open_file().is_some(), is_open, "{mode:o}");
        }
    }
}
