//! No two files of a crate import each other, but for a registry and its members.
//!
//! A file imports another if a `use` or a path in its code names something defined there; re-exports are
//! followed to the definition. Files that import each other, directly or through others, are a circle. Tests
//! do not count, nor does the root of a crate (`lib.rs`, `main.rs`), which only declares and re-exports.
//! A registry is a file with a `choice!`: that it names its members does not count, so that they may import
//! its trait.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context as _, anyhow, ensure};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A module of a crate by the names from the root: `["mix", "pairing"]`; empty for the root.
type Module = Vec<String>;

/// What a file imports.
#[derive(Default)]
struct Mentions {
    /// The paths of `use` declarations, each with the name that it binds.
    uses: Vec<(Vec<String>, String)>,
    /// The other paths.
    paths: Vec<Vec<String>>,
    /// The types of the members in a `choice!`.
    members: Vec<Vec<String>>,
}

/// Files that import each other: each with the files of the circle that it imports, and one path for each.
type Circle = BTreeMap<String, BTreeMap<String, String>>;

/// Fails if files of a crate import each other, naming all circles.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    let mut crates = vec!["xtask".to_owned()];
    for dir in fs::read_dir(root.join("crates"))? {
        crates.push(format!("crates/{}", dir?.file_name().to_string_lossy()));
    }
    crates.sort();
    let mut problems = Vec::new();
    for name in &crates {
        let dir = root.join(name).join("src");
        let circles = circles(&sources(&dir)?).with_context(|| dir.display().to_string())?;
        problems.extend(circles.iter().map(|it| describe(name, it)));
    }
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

fn describe(name: &str, circle: &Circle) -> String {
    let mut text = format!("{name}/src: these files import each other\n");
    for (from, imports) in circle {
        for (to, path) in imports {
            text += &format!("  {from} imports `{path}` of {to}\n");
        }
    }
    text + "  fix: move what both need into a file of its own, which imports neither"
}

/// Reads the files of a crate, each with its path from `src`.
fn sources(dir: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(at) = todo.pop() {
        for entry in fs::read_dir(&at).with_context(|| at.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                let name = path.strip_prefix(dir)?.to_string_lossy().replace('\\', "/");
                files.insert(name, text);
            }
        }
    }
    Ok(files)
}

/// Finds the circles of a crate.
///
/// - `files`: the text of each file, by its path from `src`.
fn circles(files: &BTreeMap<String, String>) -> anyhow::Result<Vec<Circle>> {
    let mut names = BTreeMap::new();
    let mut mentions: BTreeMap<Module, Mentions> = BTreeMap::new();
    for (name, text) in files {
        let tokens: TokenStream = text.parse().map_err(|err| anyhow!("{name}: {err}"))?;
        names.insert(module(name), name.clone());
        tokens_of(tokens).collect_into(mentions.entry(module(name)).or_default());
    }
    let krate = Crate::new(&mentions);
    let modules: Vec<&Module> = names.keys().filter(|it| !it.is_empty()).collect();
    let imports: Vec<BTreeMap<Module, String>> =
        modules.iter().map(|it| krate.imports(it)).collect();
    // Which modules each one imports, also through others.
    let n = modules.len();
    let mut reaches: Vec<Vec<bool>> =
        imports.iter().map(|it| modules.iter().map(|to| it.contains_key(*to)).collect()).collect();
    for via in 0..n {
        let further = reaches[via].clone();
        for from in reaches.iter_mut().filter(|it| it[via]) {
            from.iter_mut().zip(&further).for_each(|(it, also)| *it |= also);
        }
    }
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    for (first, reached) in reaches.iter().enumerate() {
        let together: Vec<usize> = (0..n).filter(|&it| reached[it] && reaches[it][first]).collect();
        if together.len() < 2 || !seen.insert(together.clone()) {
            continue;
        }
        let of = |from: usize| {
            let inside = together.iter().filter(|&&to| to != from).filter_map(|&to| {
                Some((names[modules[to]].clone(), imports[from].get(modules[to])?.clone()))
            });
            (names[modules[from]].clone(), inside.collect())
        };
        found.push(together.iter().map(|&it| of(it)).collect());
    }
    Ok(found)
}

/// The module of a file: `mix/pairing.rs` is `mix::pairing`.
fn module(name: &str) -> Module {
    let mut parts: Module =
        name.trim_end_matches(".rs").split('/').map(ToOwned::to_owned).collect();
    if parts.last().is_some_and(|it| ["lib", "main", "mod"].contains(&it.as_str())) {
        parts.pop();
    }
    parts
}

/// The modules of a crate, and what the names in them stand for.
struct Crate<'a> {
    mentions: &'a BTreeMap<Module, Mentions>,
    /// For each module the names that it imports or re-exports, with the module that each is defined in.
    bound: BTreeMap<(Module, String), Module>,
}

impl<'a> Crate<'a> {
    fn new(mentions: &'a BTreeMap<Module, Mentions>) -> Crate<'a> {
        let mut krate = Crate { mentions, bound: BTreeMap::new() };
        // Each round follows re-exports one step further.
        for _ in 0..mentions.len() {
            let mut bound = BTreeMap::new();
            for (module, it) in mentions {
                for (path, name) in &it.uses {
                    if let Some(to) = krate.resolve(module, path) {
                        bound.insert((module.clone(), name.clone()), to);
                    }
                }
            }
            if bound == krate.bound {
                break;
            }
            krate.bound = bound;
        }
        krate
    }

    /// Returns the module in which something is defined; `None` outside of the crate.
    fn resolve(&self, module: &Module, path: &[String]) -> Option<Module> {
        let mut at = module.clone();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" => (at, rest) = (Module::new(), &path[1..]),
            "self" => rest = &path[1..],
            "super" => {
                while let Some((first, others)) = rest.split_first()
                    && first == "super"
                {
                    at.pop();
                    rest = others;
                }
            }
            first if self.child(&at, first).is_some() => {}
            _ => return None,
        }
        for name in rest {
            at = match (self.child(&at, name), self.bound.get(&(at.clone(), name.clone()))) {
                (Some(child), _) => child,
                (None, Some(to)) if *to != at => to.clone(),
                _ => break,
            };
        }
        Some(at)
    }

    fn child(&self, of: &Module, name: &str) -> Option<Module> {
        let child = [of.as_slice(), &[name.to_owned()]].concat();
        self.mentions.contains_key(&child).then_some(child)
    }

    /// Returns the modules that one imports, with a path for each; for a registry, those that are not its
    /// members.
    fn imports(&self, module: &Module) -> BTreeMap<Module, String> {
        let it = &self.mentions[module];
        let paths = it.uses.iter().map(|it| &it.0).chain(&it.paths);
        let mut imports = BTreeMap::new();
        for path in paths {
            if let Some(to) = self.resolve(module, path).filter(|to| to != module) {
                imports.entry(to).or_insert_with(|| path.join("::"));
            }
        }
        for member in &it.members {
            let bound = || self.bound.get(&(module.clone(), member[0].clone())).cloned();
            if let Some(to) = self.resolve(module, member).or_else(bound) {
                imports.remove(&to);
            }
        }
        imports
    }
}

/// A sequence of tokens that is read from the front.
struct Tokens {
    all: Vec<TokenTree>,
    next: usize,
}

fn tokens_of(stream: TokenStream) -> Tokens {
    Tokens { all: stream.into_iter().collect(), next: 0 }
}

impl Tokens {
    /// Collects everything that is not in a test.
    fn collect_into(mut self, to: &mut Mentions) {
        while let Some(token) = self.take() {
            match token {
                TokenTree::Punct(it) if it.as_char() == '#' && self.is_of_tests() => {
                    self.skip_item()
                }
                TokenTree::Ident(it) if it == "use" && !self.is_punct('<') => {
                    self.tree(&mut Vec::new(), &mut to.uses);
                }
                TokenTree::Ident(it) if it == "mod" => {
                    self.next += 1;
                    if let Some(TokenTree::Group(it)) = self.all.get(self.next) {
                        inner_module(it.stream(), to);
                        self.next += 1;
                    }
                }
                TokenTree::Ident(it) => {
                    let path = self.path(it.to_string());
                    if path.last().is_some_and(|it| it == "choice")
                        && self.is_punct('!')
                        && let Some(TokenTree::Group(it)) = self.all.get(self.next + 1)
                    {
                        members(it.stream(), &mut to.members);
                    }
                    if path.len() > 1 {
                        to.paths.push(path);
                    }
                }
                // Of `pub(in crate::a)` nothing is imported.
                TokenTree::Group(it) if it.to_string().starts_with("(in ") => {}
                TokenTree::Group(it) => tokens_of(it.stream()).collect_into(to),
                _ => {}
            }
        }
    }

    fn take(&mut self) -> Option<TokenTree> {
        self.next += 1;
        self.all.get(self.next - 1).cloned()
    }

    fn is_punct(&self, char: char) -> bool {
        matches!(self.all.get(self.next), Some(TokenTree::Punct(it)) if it.as_char() == char)
    }

    fn is_of_tests(&self) -> bool {
        let Some(TokenTree::Group(it)) = self.all.get(self.next) else { return false };
        it.stream().to_string().replace(' ', "") == "cfg(test)"
    }

    /// Skips up to the end of an item: a semicolon or a block.
    fn skip_item(&mut self) {
        while let Some(token) = self.take() {
            match token {
                TokenTree::Punct(it) if it.as_char() == ';' => return,
                TokenTree::Group(it) if it.delimiter() == Delimiter::Brace => {
                    // In `use a::{b, c};` the semicolon follows.
                    self.next += usize::from(self.is_punct(';'));
                    return;
                }
                _ => {}
            }
        }
    }

    /// Skips `::`, if it is next.
    fn skip_colons(&mut self) -> bool {
        let is_next = self.is_punct(':')
            && matches!(self.all.get(self.next + 1), Some(TokenTree::Punct(it)) if it.as_char() == ':');
        self.next += 2 * usize::from(is_next);
        is_next
    }

    /// Reads the rest of a path such as `crate::a::B`.
    fn path(&mut self, first: String) -> Vec<String> {
        let mut path = vec![first];
        while self.skip_colons() {
            let Some(TokenTree::Ident(it)) = self.all.get(self.next) else { break };
            path.push(it.to_string());
            self.next += 1;
        }
        path
    }

    /// Reads a tree of imports up to a semicolon, a comma or the end.
    fn tree(&mut self, before: &mut Vec<String>, uses: &mut Vec<(Vec<String>, String)>) {
        let depth = before.len();
        let mut alias = None;
        while let Some(token) = self.take() {
            match token {
                TokenTree::Ident(it) if it == "as" => {
                    alias = self.take().map(|it| it.to_string());
                }
                TokenTree::Ident(it) => before.push(it.to_string()),
                TokenTree::Group(it) => {
                    let mut inner = tokens_of(it.stream());
                    while inner.next < inner.all.len() {
                        inner.tree(before, uses);
                    }
                    before.truncate(depth);
                }
                TokenTree::Punct(it) if matches!(it.as_char(), ';' | ',') => break,
                _ => {}
            }
        }
        if before.len() > depth {
            let mut path = before.clone();
            if path.len() > 1 {
                path.pop_if(|it| it == "self");
            }
            let name = alias.or_else(|| path.last().cloned()).unwrap_or_default();
            uses.push((path, name));
        }
        before.truncate(depth);
    }
}

/// Collects the paths of a module `mod a { … }` inside of a file, as paths from the file.
fn inner_module(stream: TokenStream, to: &mut Mentions) {
    let mut inner = Mentions::default();
    tokens_of(stream).collect_into(&mut inner);
    for mut path in inner.uses.into_iter().map(|it| it.0).chain(inner.paths) {
        match path.as_slice() {
            [first, second, ..] if first == "super" && second == "super" => drop(path.remove(0)),
            [first, ..] if first == "super" => path[0] = "self".to_owned(),
            [first, ..] if first == "self" => continue,
            _ => {}
        }
        to.paths.push(path);
    }
}

/// Reads the types of the members in the lines `"kind" => Variant(path::Type)` of a `choice!`.
fn members(stream: TokenStream, to: &mut Vec<Vec<String>>) {
    let mut tokens = tokens_of(stream);
    while let Some(token) = tokens.take() {
        match token {
            TokenTree::Group(it) if it.delimiter() == Delimiter::Brace => members(it.stream(), to),
            TokenTree::Punct(it) if it.as_char() == '>' => {
                tokens.next += 1;
                if let Some(TokenTree::Group(it)) = tokens.take() {
                    let mut inner = tokens_of(it.stream());
                    if let Some(TokenTree::Ident(first)) = inner.take() {
                        to.push(inner.path(first.to_string()));
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{circles, describe};

    /// The circles of a crate of these files, each as its files.
    fn found(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let files = files.iter().map(|&(name, text)| (name.to_owned(), text.to_owned()));
        let circles = circles(&files.collect::<BTreeMap<_, _>>()).expect("valid files");
        circles.into_iter().map(|it| it.into_keys().collect()).collect()
    }

    #[test]
    fn files_that_import_each_other_are_found() {
        let b = ("b.rs", "use crate::a::A;");
        assert_eq!(found(&[("a.rs", "use std::io;\nuse crate::b::B;"), b]), [["a.rs", "b.rs"]]);
        assert_eq!(found(&[("a.rs", "use std::io; struct A;"), b]), [[""; 0]; 0]);
        // By a path in the code, in a group, under another name, through a third file.
        assert_eq!(found(&[("a.rs", "fn f() { crate::b::B::new() }"), b]), [["a.rs", "b.rs"]]);
        assert_eq!(found(&[("a.rs", "use crate::{c, b::{self, B}};"), b]), [["a.rs", "b.rs"]]);
        assert_eq!(found(&[("a.rs", "use crate::b as other;"), b]), [["a.rs", "b.rs"]]);
        assert_eq!(
            found(&[("a.rs", "use crate::c::C;"), b, ("c.rs", "use super::b::B;")]),
            [["a.rs", "b.rs", "c.rs"]]
        );
    }

    #[test]
    fn a_module_and_its_child_are_a_circle() {
        let child = ("a/b.rs", "use super::A;");
        assert_eq!(found(&[("a.rs", "mod b; use b::B;"), child]), [["a.rs", "a/b.rs"]]);
        assert_eq!(found(&[("a.rs", "mod b; fn f() { b::g() }"), child]), [["a.rs", "a/b.rs"]]);
        assert_eq!(found(&[("a/mod.rs", "use self::b::B;"), child]), [["a/b.rs", "a/mod.rs"]]);
        // The same from a module inside of the file.
        let inner = "mod b; mod c { use super::b::B; }";
        assert_eq!(found(&[("a.rs", inner), child]), [["a.rs", "a/b.rs"]]);
        // The module is only declared.
        assert_eq!(found(&[("a.rs", "mod b; struct A;"), child]), [[""; 0]; 0]);
    }

    #[test]
    fn re_exports_are_followed() {
        // `A` is defined in `c.rs`, which imports nothing.
        let facade = ("a.rs", "mod b; mod c; pub use b::B; pub(crate) use self::c::A;");
        let files = [facade, ("a/b.rs", "use super::A;"), ("a/c.rs", "pub struct A;")];
        assert_eq!(found(&files), [[""; 0]; 0]);
        // Through the root, and twice.
        let root = ("lib.rs", "mod a; mod d; pub use a::{A, B as Bee};");
        let files = [root, facade, ("a/b.rs", "use crate::d::D;"), ("d.rs", "use crate::Bee;")];
        assert_eq!(found(&files), [["a/b.rs", "d.rs"]]);
    }

    #[test]
    fn tests_comments_and_texts_do_not_count() {
        let b = ("b.rs", "use crate::a::A;");
        for text in [
            "#[cfg(test)]\nmod tests { use crate::b::B; }",
            "#[cfg(test)]\nuse crate::{b::B, c};\nfn f() {}",
            "// use crate::b::B;\n/// See [`B`](crate::b::B).\nstruct A;",
            "const A: &str = \"use crate::b::B;\";",
            "pub(in crate::b) struct A;",
        ] {
            assert_eq!(found(&[("a.rs", text), b]), [[""; 0]; 0], "{text}");
        }
        // What follows the test's item counts.
        let text = "#[cfg(test)]\nuse crate::{c::C, d};\nuse crate::b::B;";
        assert_eq!(found(&[("a.rs", text), b]), [["a.rs", "b.rs"]]);
    }

    #[test]
    fn a_registry_and_its_members_are_allowed() {
        let registry = |rest: &str| {
            format!(
                "mod one; mod two; use two::Two; {rest}\n\
                 base::choice! {{ pub enum A: dyn T {{ /// One.\n\"one\" => First(one::One), \
                 /// Two.\n\"two\" => Second(Two), }} }}"
            )
        };
        let [one, two] = [("a/one.rs", "use super::T;"), ("a/two.rs", "use super::{T, one::X};")];
        assert_eq!(found(&[("a.rs", &registry("")), one, two]), [[""; 0]; 0]);
        // A file that is no member, and members that import each other.
        let other = ("a/other.rs", "use super::T;");
        let text = registry("mod other; use other::Other;");
        assert_eq!(found(&[("a.rs", &text), one, two, other]), [["a.rs", "a/other.rs"]]);
        let one = ("a/one.rs", "use super::two::Two;");
        assert_eq!(found(&[("a.rs", &registry("")), one, two]), [["a/one.rs", "a/two.rs"]]);
    }

    #[test]
    fn an_error_names_the_files_and_the_imports() {
        let files = [("a.rs", "use crate::b::B;"), ("b.rs", "use crate::a::{A, C};")];
        let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let circles = circles(&BTreeMap::from(files)).expect("valid files");
        let text = describe("crates/x", &circles[0]);
        assert!(text.starts_with("crates/x/src: "), "{text}");
        assert!(text.contains("a.rs imports `crate::b::B` of b.rs"), "{text}");
        assert!(text.contains("b.rs imports `crate::a::A` of a.rs"), "{text}");
        assert!(text.contains("fix: move what both need"), "{text}");
    }
}
