//! From text to a module: directives, variables, functions with their parameters.

use super::module::{Function, LoadError, Module, Operand, Space, Variable};
use super::parser::{Parser, Result};
use super::tokens::tokens;

/// Parses a module.
///
/// # Errors
/// If the text is no PTX, or has directives that the emulator does not know.
pub fn parse(text: &str) -> Result<Module> {
    let lines: Vec<String> = text.lines().map(|it| it.trim().to_owned()).collect();
    let mut parser = Parser { tokens: tokens(text)?, at: 0 };
    let module = parser.module();
    let mut module = module.map_err(|mut it| {
        it.text = lines.get(it.line.saturating_sub(1) as usize).cloned().unwrap_or_default();
        it
    })?;
    module.lines = lines;
    Ok(module)
}

impl Parser {
    fn module(&mut self) -> Result<Module> {
        let mut module = Module { lines: Vec::new(), variables: Vec::new(), functions: Vec::new() };
        let mut has_version = false;
        while self.peek().is_some() {
            match self.peek_word() {
                Some(".version") => {
                    has_version = true;
                    self.skip_line();
                }
                Some(".target" | ".address_size" | ".file" | ".loc") => self.skip_line(),
                Some(".section") => {
                    while !self.is_mark('{') && self.peek().is_some() {
                        self.at += 1;
                    }
                    self.skip_braces()?;
                }
                Some(".visible" | ".extern" | ".weak" | ".common") => self.at += 1,
                Some(".entry" | ".func") => {
                    if let Some(function) = self.function()? {
                        module.functions.push(function);
                    }
                }
                Some(".global" | ".const" | ".shared") => {
                    let (variables, _) = self.variables()?;
                    module.variables.extend(variables);
                }
                _ => {
                    return self
                        .error(format!("unknown at the top of a module: {:?}", self.peek()));
                }
            }
        }
        if !has_version {
            return Err(LoadError {
                message: "no `.version`: this is no PTX".to_owned(),
                line: 0,
                text: String::new(),
            });
        }
        Ok(module)
    }

    /// `.shared .align 4 .b8 name[64] = {1, 2};`
    pub(super) fn variables(&mut self) -> Result<(Vec<Variable>, bool)> {
        let (space, mut align, size, is_register) = self.kind()?;
        let mut found = Vec::new();
        loop {
            let name = self.word()?;
            let mut bytes = size;
            let mut is_open = false;
            while self.take('[') {
                if self.take(']') {
                    is_open = true;
                    continue;
                }
                let n = self.word()?;
                bytes *= n.parse::<usize>().or_else(|_| self.error("a size expected"))?;
                self.expect(']')?;
            }
            let mut init = Vec::new();
            if self.take('=') {
                self.initial(size, &mut init)?;
            }
            if is_open {
                bytes = init.len();
            }
            align = align.max(size);
            found.push(Variable { name, space, align, bytes, init });
            if !self.take(',') {
                break;
            }
        }
        self.expect(';')?;
        Ok((found, is_register))
    }

    /// Space, alignment and size of the element.
    fn kind(&mut self) -> Result<(Space, usize, usize, bool)> {
        let (mut space, mut align, mut size, mut lanes, mut is_register) =
            (Space::Param, 1, None, 1, false);
        while let Some(word) = self.peek_word().filter(|it| it.starts_with('.')).map(str::to_owned)
        {
            self.at += 1;
            match word.as_str() {
                ".global" => space = Space::Global,
                ".const" => space = Space::Const,
                ".shared" => space = Space::Shared,
                ".local" => space = Space::Local,
                ".param" => space = Space::Param,
                ".reg" => is_register = true,
                ".align" => {
                    align = self.word()?.parse().or_else(|_| self.error("an alignment expected"))?
                }
                ".ptr" | ".managed" => {}
                ".v2" => lanes = 2,
                ".v4" => lanes = 4,
                ".pred" => size = Some(1),
                _ => match word[2..].parse::<usize>() {
                    Ok(bits) if bits % 8 == 0 && bits <= 64 && "bsuf".contains(&word[1..2]) => {
                        size = Some(bits / 8)
                    }
                    _ => return self.error(format!("unknown in a declaration: `{word}`")),
                },
            }
        }
        match size {
            Some(size) => Ok((space, align.max(size * lanes), size * lanes, is_register)),
            None => self.error("a declaration without a type"),
        }
    }

    fn initial(&mut self, size: usize, init: &mut Vec<u8>) -> Result<()> {
        if self.take('{') {
            while !self.take('}') {
                self.initial(size, init)?;
                self.take(',');
            }
            return Ok(());
        }
        let value = match self.number()? {
            Operand::Integer(it) | Operand::Double(it) => it,
            Operand::Single(it) => u64::from(it),
            _ => {
                return self
                    .error("a number expected; addresses as initial values are not supported");
            }
        };
        init.extend(&value.to_le_bytes()[..size]);
        Ok(())
    }

    fn parameters(&mut self) -> Result<Vec<Variable>> {
        let mut found: Vec<Variable> = Vec::new();
        if !self.take('(') {
            return Ok(found);
        }
        while !self.take(')') {
            let (space, align, mut bytes, is_register) = self.kind()?;
            if is_register {
                return self.error("parameters in registers are not supported");
            }
            let name = self.word()?;
            while self.take('[') {
                let n = self.word()?;
                bytes *= n.parse::<usize>().or_else(|_| self.error("a size expected"))?;
                self.expect(']')?;
            }
            found.push(Variable { name, space, align, bytes, init: Vec::new() });
            self.take(',');
        }
        Ok(found)
    }

    fn function(&mut self) -> Result<Option<Function>> {
        let line = self.line();
        let is_kernel = self.word()? == ".entry";
        let returns = self.parameters()?;
        let name = self.word()?;
        let parameters = self.parameters()?;
        let mut function = Function {
            name,
            is_kernel,
            parameters,
            returns,
            max_threads: None,
            exact_threads: None,
            registers: Vec::new(),
            variables: Vec::new(),
            labels: Vec::new(),
            tables: Vec::new(),
            body: Vec::new(),
            line,
        };
        while !self.is_mark('{') {
            if self.take(';') {
                return Ok(None);
            }
            match self.word()?.as_str() {
                it @ (".maxntid" | ".reqntid") => {
                    let dims = self.dims()?;
                    if it == ".reqntid" {
                        function.exact_threads = Some(dims);
                    }
                    function.max_threads = Some(dims.iter().product());
                }
                ".minnctapersm" | ".maxnreg" => self.at += 1,
                ".noreturn" => {}
                other => return self.error(format!("unknown before a function's body: `{other}`")),
            }
        }
        self.body(&mut function)?;
        Ok(Some(function))
    }

    fn dims(&mut self) -> Result<[u32; 3]> {
        let mut dims = [1; 3];
        for dim in &mut dims {
            *dim = self.word()?.parse().or_else(|_| self.error("a number of threads expected"))?;
            if !self.take(',') {
                break;
            }
        }
        Ok(dims)
    }
}
