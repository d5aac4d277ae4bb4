//! The body of a function: registers, labels, instructions and their operands.

use super::module::{Class, Function, Operand, Statement};
use super::parser::{Parser, Result};
use super::tokens::Token;
use std::collections::HashMap;

/// Names that a function's braces limit.
#[derive(Default)]
struct Scopes {
    names: Vec<HashMap<String, usize>>,
    labels: HashMap<String, usize>,
}

impl Parser {
    pub(super) fn body(&mut self, function: &mut Function) -> Result<()> {
        self.expect('{')?;
        let mut scopes = Scopes { names: vec![HashMap::new()], labels: HashMap::new() };
        loop {
            if self.take('{') {
                scopes.names.push(HashMap::new());
            } else if self.take('}') {
                scopes.names.pop();
                if scopes.names.is_empty() {
                    break;
                }
            } else if self.take(';') {
            } else if let Some(word) = self.peek_word().map(str::to_owned) {
                let is_label =
                    self.tokens.get(self.at + 1).is_some_and(|it| it.0 == Token::Mark(':'));
                if is_label {
                    self.at += 2;
                    if matches!(
                        self.peek_word(),
                        Some(".branchtargets" | ".calltargets" | ".callprototype")
                    ) {
                        self.table(word, function, &mut scopes)?;
                        continue;
                    }
                    let label = scopes.label(&word, function);
                    if function.labels[label].replace(function.body.len()).is_some() {
                        return self.error(format!("the label `{word}` exists twice"));
                    }
                } else if word.starts_with('.') {
                    self.declaration(&word, function, &mut scopes)?;
                } else {
                    self.statement(function, &mut scopes)?;
                }
            } else if self.is_mark('@') {
                self.statement(function, &mut scopes)?;
            } else {
                return self.error(format!("an instruction expected, found {:?}", self.peek()));
            }
        }
        match scopes.labels.iter().find(|it| function.labels[*it.1].is_none()) {
            Some((name, _)) => self.error(format!("the label `{name}` does not exist")),
            None => Ok(()),
        }
    }

    fn table(&mut self, name: String, function: &mut Function, scopes: &mut Scopes) -> Result<()> {
        let kind = self.word()?;
        if kind != ".branchtargets" {
            return self.error(format!("`{kind}` is not supported: calls through pointers"));
        }
        let mut labels = Vec::new();
        loop {
            let word = self.word()?;
            labels.push(scopes.label(&word, function));
            if !self.take(',') {
                break;
            }
        }
        function.tables.push((name, labels));
        self.expect(';')
    }

    fn declaration(
        &mut self,
        word: &str,
        function: &mut Function,
        scopes: &mut Scopes,
    ) -> Result<()> {
        match word {
            ".pragma" => self.skip_until(';'),
            ".loc" | ".file" => {
                self.skip_line();
                Ok(())
            }
            ".reg" => self.registers(function, scopes),
            ".shared" | ".local" | ".param" => {
                let (variables, _) = self.variables()?;
                function.variables.extend(variables);
                Ok(())
            }
            other => self.error(format!("unknown directive `{other}`")),
        }
    }

    /// `.reg .b32 %r<10>;` or `.reg .pred p, q;`
    fn registers(&mut self, function: &mut Function, scopes: &mut Scopes) -> Result<()> {
        self.at += 1;
        let kind = self.word()?;
        let class = match kind.as_str() {
            ".pred" => Class::Predicate,
            ".b8" | ".u8" | ".s8" | ".b16" | ".u16" | ".s16" | ".f16" | ".bf16" => Class::Half,
            ".b32" | ".u32" | ".s32" | ".f32" | ".f16x2" | ".bf16x2" => Class::Word,
            ".b64" | ".u64" | ".s64" | ".f64" => Class::Double,
            _ => return self.error(format!("registers of `{kind}` are not supported")),
        };
        loop {
            let name = self.word()?;
            let n = if self.take('<') {
                let n =
                    self.word()?.parse::<usize>().or_else(|_| self.error("a number expected"))?;
                self.expect('>')?;
                Some(n)
            } else {
                None
            };
            let names = scopes.names.last_mut().expect("a body has a scope");
            for idx in 0..n.unwrap_or(1) {
                let name = if n.is_some() { format!("{name}{idx}") } else { name.clone() };
                names.insert(name, function.registers.len());
                function.registers.push(class);
            }
            if !self.take(',') {
                break;
            }
        }
        self.expect(';')
    }

    fn statement(&mut self, function: &mut Function, scopes: &mut Scopes) -> Result<()> {
        let line = self.line();
        let mut guard = None;
        if self.take('@') {
            let is_negated = self.take('!');
            let name = self.word()?;
            match scopes.register(&name) {
                Some(it) => guard = Some((it, is_negated)),
                None => return self.error(format!("the predicate `{name}` is not declared")),
            }
        }
        let name = self.word()?;
        let mut parts = name.split('.').map(str::to_owned);
        let name = parts.next().unwrap_or_default();
        let modifiers = parts.collect();
        let mut operands = Vec::new();
        let mut is_pair = false;
        while !self.take(';') {
            let operand = match (name.as_str(), self.peek_word().map(str::to_owned)) {
                // Labels of inline assembly may look like any name; so may tables.
                ("bra", Some(word)) => {
                    self.at += 1;
                    Operand::Label(scopes.label(&word, function))
                }
                ("brx", Some(word)) if !word.starts_with('%') => {
                    self.at += 1;
                    Operand::Symbol(word)
                }
                _ => self.operand(scopes)?,
            };
            operands.push(operand);
            if self.take('|') {
                is_pair = true;
            } else if !self.take(',') && !self.is_mark(';') {
                return self.error(format!("`,` or `;` expected, found {:?}", self.peek()));
            }
        }
        function.body.push(Statement { line, guard, name, modifiers, is_pair, operands });
        Ok(())
    }

    fn operand(&mut self, scopes: &Scopes) -> Result<Operand> {
        if self.take('!') {
            let name = self.word()?;
            return match scopes.register(&name) {
                Some(it) => Ok(Operand::Not(it)),
                None => self.error(format!("the predicate `{name}` is not declared")),
            };
        }
        if self.take('[') {
            let base = self.operand(scopes)?;
            let mut offset = 0i64;
            if self.take('+') || self.is_mark('-') {
                offset = self.integer()?;
            }
            self.expect(']')?;
            return Ok(Operand::Address(Box::new(base), offset));
        }
        for (open, close) in [('{', '}'), ('(', ')')] {
            if self.take(open) {
                let mut list = Vec::new();
                while !self.take(close) {
                    list.push(self.operand(scopes)?);
                    if !self.take(',') && !self.is_mark(close) {
                        return self
                            .error(format!("`,` or `{close}` expected, found {:?}", self.peek()));
                    }
                }
                return Ok(Operand::List(list));
            }
        }
        let is_number = self.is_mark('-')
            || self.peek_word().is_some_and(|it| it.starts_with(|c: char| c.is_ascii_digit()));
        if is_number {
            return self.number();
        }
        let word = self.word()?;
        if let Some(it) = scopes.register(&word) {
            return Ok(Operand::Register(it));
        }
        Ok(match word.as_str() {
            "_" => Operand::Sink,
            "WARP_SZ" => Operand::Integer(32),
            it if it.starts_with('%') => Operand::Special(word),
            _ => Operand::Symbol(word),
        })
    }
}

impl Scopes {
    fn register(&self, name: &str) -> Option<usize> {
        self.names.iter().rev().find_map(|it| it.get(name).copied())
    }

    fn label(&mut self, name: &str, function: &mut Function) -> usize {
        *self.labels.entry(name.to_owned()).or_insert_with(|| {
            function.labels.push(None);
            function.labels.len() - 1
        })
    }
}
