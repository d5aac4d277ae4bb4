//! A position in the tokens, and what is read at it.

use super::module::{LoadError, Operand};
use super::tokens::Token;

pub(super) type Result<T> = std::result::Result<T, LoadError>;

pub(super) struct Parser {
    pub(super) tokens: Vec<(Token, u32)>,
    pub(super) at: usize,
}

impl Parser {
    pub(super) fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(0, |it| it.1)
    }

    pub(super) fn error<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(LoadError { message: message.into(), line: self.line(), text: String::new() })
    }

    pub(super) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|it| &it.0)
    }

    pub(super) fn peek_word(&self) -> Option<&str> {
        match self.peek() {
            Some(Token::Word(it)) => Some(it),
            _ => None,
        }
    }

    pub(super) fn is_mark(&self, mark: char) -> bool {
        self.peek() == Some(&Token::Mark(mark))
    }

    pub(super) fn take(&mut self, mark: char) -> bool {
        let is = self.is_mark(mark);
        self.at += usize::from(is);
        is
    }

    pub(super) fn expect(&mut self, mark: char) -> Result<()> {
        if self.take(mark) {
            Ok(())
        } else {
            self.error(format!("`{mark}` expected, found {:?}", self.peek()))
        }
    }

    pub(super) fn word(&mut self) -> Result<String> {
        match self.peek() {
            Some(Token::Word(it)) => {
                let it = it.clone();
                self.at += 1;
                Ok(it)
            }
            other => self.error(format!("a word expected, found {other:?}")),
        }
    }

    pub(super) fn skip_until(&mut self, mark: char) -> Result<()> {
        while !self.take(mark) {
            if self.peek().is_none() {
                return self.error(format!("`{mark}` expected before the end"));
            }
            self.at += 1;
        }
        Ok(())
    }

    pub(super) fn skip_braces(&mut self) -> Result<()> {
        let mut depth = 0;
        loop {
            match self.peek() {
                None => return self.error("a brace without an end"),
                Some(Token::Mark('{')) => depth += 1,
                Some(Token::Mark('}')) => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// To the next line.
    pub(super) fn skip_line(&mut self) {
        let line = self.line();
        while self.peek().is_some() && self.line() == line {
            self.at += 1;
        }
    }

    pub(super) fn integer(&mut self) -> Result<i64> {
        match self.number()? {
            Operand::Integer(it) => Ok(it as i64),
            _ => self.error("an integer expected"),
        }
    }

    pub(super) fn number(&mut self) -> Result<Operand> {
        let is_negative = self.take('-');
        let word = self.word()?;
        let hex = |digits: &str| u64::from_str_radix(digits, 16);
        let lower = word.to_ascii_lowercase();
        let found = if let Some(digits) = lower.strip_prefix("0f") {
            hex(digits).map(|it| Operand::Single(it as u32))
        } else if let Some(digits) = lower.strip_prefix("0d") {
            hex(digits).map(Operand::Double)
        } else {
            let digits = lower.trim_end_matches('u');
            let value = if let Some(it) = digits.strip_prefix("0x") {
                hex(it)
            } else if let Some(it) = digits.strip_prefix("0b") {
                u64::from_str_radix(it, 2)
            } else if digits.len() > 1 && digits.starts_with('0') {
                u64::from_str_radix(digits, 8)
            } else {
                digits.parse()
            };
            value.map(|it| Operand::Integer(if is_negative { it.wrapping_neg() } else { it }))
        };
        found.or_else(|_| self.error(format!("`{word}` is not a number that the emulator knows")))
    }
}
