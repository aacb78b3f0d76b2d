//! Which module names what: every path in the sources, made absolute.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::sources::rust;

/// A path that a file names.
pub(crate) struct Import {
    /// `file:line`.
    pub(crate) place: String,
    /// Where it begins: `crate` with our own modules, else a dependency or `std`.
    pub(crate) path: Vec<String>,
    /// Whether it is handed on by a `pub use`.
    is_handed_on: bool,
}

/// A file of `src` and what it names.
pub(crate) struct Module {
    pub(crate) file: String,
    /// Its path, from `crate`.
    path: Vec<String>,
    pub(crate) imports: Vec<Import>,
}

/// All modules of the program. What is compiled for tests only is left out.
pub(crate) fn modules() -> Vec<Module> {
    rust(&["src"])
        .iter()
        .filter(|source| !source.path.ends_with("tests.rs"))
        .map(|source| {
            let path = module_path(&source.path);
            let tokens: TokenStream =
                source.text.parse().unwrap_or_else(|error| panic!("{}: {error}", source.path));
            let mut found = Found::default();
            found.read(tokens, &path);
            Module { file: source.path.clone(), imports: found.resolve(&source.path), path }
        })
        .collect()
}

/// Each file with the files whose items it names, found through whatever hands the item on. A module that puts its own
/// submodules together is not counted: they belong to it, and may use what it defines for them all.
pub(crate) fn edges(modules: &[Module]) -> BTreeMap<&str, BTreeSet<&str>> {
    let by_path: BTreeMap<&[String], &Module> =
        modules.iter().map(|module| (&module.path[..], module)).collect();
    let mut edges = BTreeMap::new();
    for module in modules {
        let homes = module.imports.iter().filter_map(|import| home(&import.path, &by_path));
        let named = homes.filter(|home| !home.path.starts_with(&module.path));
        edges.insert(&*module.file, named.map(|home| &*home.file).collect());
    }
    edges
}

/// Files that name each other in a loop, one loop a line.
pub(crate) fn circles() -> Vec<String> {
    let modules = modules();
    let edges = edges(&modules);
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        edges.keys().map(|file| (*file, reached(file, &edges))).collect();
    let mut seen = BTreeSet::new();
    let mut circles = Vec::new();
    for (file, reached) in &reach {
        let circle: Vec<&str> =
            reached.iter().filter(|other| reach[**other].contains(file)).copied().collect();
        if !circle.is_empty() && seen.insert(circle.clone()) {
            circles.push(format!("{}: these import each other in a circle: cut it", circle.join(", ")));
        }
    }
    circles
}

/// Parts that hand on what is another part's.
pub(crate) fn handed_on_from_elsewhere() -> Vec<String> {
    let modules = modules();
    let mut complaints = Vec::new();
    for module in &modules {
        let part = module.path.get(1);
        let foreign =
            |import: &&Import| import.is_handed_on && import.path[0] == "crate" && import.path.get(1) != part;
        complaints.extend(module.imports.iter().filter(foreign).map(|import| {
            format!("{}: hands on {}: import it where it is used", import.place, import.path.join("::"))
        }));
    }
    complaints
}

fn reached<'a>(from: &str, edges: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = edges[from].iter().copied().collect();
    while let Some(file) = open.pop() {
        if reached.insert(file) {
            open.extend(&edges[file]);
        }
    }
    reached
}

/// The file that defines what `path` names.
fn home<'a>(path: &[String], modules: &BTreeMap<&[String], &'a Module>) -> Option<&'a Module> {
    let length = (1..=path.len()).rev().find(|length| modules.contains_key(&path[..*length]))?;
    let module = modules[&path[..length]];
    let Some(item) = path.get(length) else { return Some(module) };
    let is_source = |import: &&Import| {
        import.is_handed_on
            && import.path[0] == "crate"
            && import.path.last() == Some(item)
            && import.path != path
    };
    match module.imports.iter().find(is_source) {
        Some(import) => home(&import.path, modules),
        None => Some(module),
    }
}

/// `src/log/kafka/mod.rs` is `crate::log::kafka`.
fn module_path(file: &str) -> Vec<String> {
    let inside = file.strip_prefix("src/").unwrap_or(file);
    let inside = inside.strip_suffix(".rs").unwrap_or(inside);
    let names = inside.split('/').filter(|name| !["mod", "lib"].contains(name));
    std::iter::once("crate").chain(names).map(str::to_owned).collect()
}

/// A path as it is written.
struct Written {
    line: usize,
    module: Vec<String>,
    names: Vec<String>,
    use_of: Option<UseOf>,
}

struct UseOf {
    alias: String,
    is_handed_on: bool,
}

/// What was found in a file.
#[derive(Default)]
struct Found {
    written: Vec<Written>,
    children: BTreeSet<String>,
}

impl Found {
    fn read(&mut self, tokens: TokenStream, module: &[String]) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            at = self.read_one(&tokens, at, module);
        }
    }

    /// Reads what begins at `at`, and returns where the next begins.
    fn read_one(&mut self, tokens: &[TokenTree], at: usize, module: &[String]) -> usize {
        match &tokens[at] {
            TokenTree::Group(_) if is_test_attribute(tokens, at) => after_item(tokens, at + 1),
            TokenTree::Group(group) => {
                self.read(group.stream(), module);
                at + 1
            }
            TokenTree::Ident(word) if word == "use" => {
                let end = (at..tokens.len()).find(|at| is_punct(tokens, *at, ';')).unwrap_or(tokens.len());
                self.read_use(&tokens[at + 1..end], module, &[], is_public(tokens, at));
                end + 1
            }
            TokenTree::Ident(word) if word == "mod" => self.read_mod(tokens, at, module),
            TokenTree::Ident(_) => {
                let (names, end) = path_at(tokens, at);
                let is_member = at > 0 && is_punct(tokens, at - 1, '.');
                if names.len() > 1 && !is_member {
                    self.written.push(written(&tokens[at], module, names, None));
                }
                end
            }
            _ => at + 1,
        }
    }

    fn read_mod(&mut self, tokens: &[TokenTree], at: usize, module: &[String]) -> usize {
        let Some(TokenTree::Ident(name)) = tokens.get(at + 1) else { return at + 1 };
        self.children.insert(name.to_string());
        if let Some(TokenTree::Group(body)) = tokens.get(at + 2) {
            let inner: Vec<String> = module.iter().cloned().chain([name.to_string()]).collect();
            self.read(body.stream(), &inner);
        }
        at + 3
    }

    fn read_use(&mut self, tokens: &[TokenTree], module: &[String], above: &[String], is_handed_on: bool) {
        for tree in tokens.split(|token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',')) {
            let mut names = above.to_vec();
            let mut alias = None;
            for (at, token) in tree.iter().enumerate() {
                match token {
                    TokenTree::Ident(word) if word == "as" => {
                        alias = tree.get(at + 1).map(ToString::to_string)
                    }
                    TokenTree::Ident(_) if alias.is_some() => {}
                    TokenTree::Ident(word) => names.push(word.to_string()),
                    TokenTree::Group(group) => {
                        let members: Vec<TokenTree> = group.stream().into_iter().collect();
                        self.read_use(&members, module, &names, is_handed_on);
                        names.clear();
                    }
                    _ => {}
                }
            }
            if names.len() > 1 && names.last().is_some_and(|name| name == "self") {
                names.pop();
            }
            if let (Some(first), Some(last)) = (tree.first(), names.last().cloned()) {
                let use_of = UseOf { alias: alias.unwrap_or(last), is_handed_on };
                self.written.push(written(first, module, names, Some(use_of)));
            }
        }
    }

    /// The paths from their roots; those that name only what the file itself defines are left out.
    fn resolve(self, file: &str) -> Vec<Import> {
        let none = BTreeMap::new();
        let mut aliases: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for written in &self.written {
            if let Some(of) = &written.use_of {
                aliases.insert(of.alias.clone(), self.absolute(written, &none));
            }
        }
        let import = |written: &Written| Import {
            place: format!("{file}:{}", written.line),
            path: self.absolute(written, if written.use_of.is_some() { &none } else { &aliases }),
            is_handed_on: written.use_of.as_ref().is_some_and(|of| of.is_handed_on),
        };
        self.written.iter().map(import).collect()
    }

    fn absolute(&self, written: &Written, aliases: &BTreeMap<String, Vec<String>>) -> Vec<String> {
        let Written { module, names, .. } = written;
        let supers = names.iter().take_while(|name| *name == "super").count();
        let (start, rest) = match &*names[0] {
            // The program's own file names the library by its name.
            "crate" | "avr" => (&module[..1], &names[1..]),
            "self" => (&module[..], &names[1..]),
            "super" => (&module[..module.len() - supers], &names[supers..]),
            first => match aliases.get(first) {
                Some(path) => (&path[..], &names[1..]),
                None if self.children.contains(first) => (&module[..], &names[..]),
                None => (&[][..], &names[..]),
            },
        };
        start.iter().chain(rest).cloned().collect()
    }
}

fn written(at: &TokenTree, module: &[String], names: Vec<String>, use_of: Option<UseOf>) -> Written {
    Written { line: at.span().start().line, module: module.to_vec(), names, use_of }
}

/// The names of the path that begins at `at`, and where it ends.
fn path_at(tokens: &[TokenTree], mut at: usize) -> (Vec<String>, usize) {
    let mut names = Vec::new();
    while let Some(TokenTree::Ident(name)) = tokens.get(at) {
        names.push(name.to_string());
        at += 1;
        if !(is_punct(tokens, at, ':') && is_punct(tokens, at + 1, ':')) {
            break;
        }
        at += 2;
    }
    (names, at)
}

fn is_punct(tokens: &[TokenTree], at: usize, character: char) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == character)
}

fn is_public(tokens: &[TokenTree], at: usize) -> bool {
    let is_pub = |at: usize| matches!(&tokens[at], TokenTree::Ident(word) if word == "pub");
    let is_scope = |at: usize| matches!(&tokens[at], TokenTree::Group(_));
    (at > 0 && is_pub(at - 1)) || (at > 1 && is_scope(at - 1) && is_pub(at - 2))
}

fn is_test_attribute(tokens: &[TokenTree], at: usize) -> bool {
    let TokenTree::Group(group) = &tokens[at] else { return false };
    let text: String = group.stream().to_string().split_whitespace().collect();
    at > 0 && is_punct(tokens, at - 1, '#') && text == "cfg(test)"
}

/// Where the item ends that begins at `at`.
fn after_item(tokens: &[TokenTree], at: usize) -> usize {
    let is_use =
        tokens[at..].iter().take(3).any(|token| matches!(token, TokenTree::Ident(word) if word == "use"));
    let is_body = |token: &TokenTree| {
        !is_use && matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
    };
    let is_end = |at: &usize| is_punct(tokens, *at, ';') || is_body(&tokens[*at]);
    (at..tokens.len()).find(is_end).map_or(tokens.len(), |end| end + 1)
}
