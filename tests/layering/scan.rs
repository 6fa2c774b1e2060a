//! What a source file says, without what its comments and strings say: the paths it names, the macros it calls.

use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};

/// One thing a source file mentions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fact {
    pub(crate) line: usize,
    /// The module it stands in, from the crate root.
    pub(crate) module: Vec<String>,
    /// Whether it is compiled for tests only.
    pub(crate) test: bool,
    pub(crate) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// A path within the crate, from its root; a glob import ends in `*`.
    Local(Vec<String>),
    /// A path that starts with any other name.
    Other(Vec<String>),
    /// A macro call, by name.
    Macro(String),
    /// A module that is in another file, and which one if `#[path]` says so.
    Module(String, Option<String>),
    /// The keyword.
    Unsafe,
}

/// Reads a source file that is the module `module`, the crate root being `[]`.
pub(crate) fn scan(source: &str, module: &[String], test: bool) -> Result<Vec<Fact>, String> {
    let tokens: TokenStream = source.parse().map_err(|e| format!("it does not parse: {e}"))?;
    let mut scanner = Scanner { module: module.to_vec(), test, file: None, facts: Vec::new() };
    scanner.walk(tokens);
    Ok(scanner.facts)
}

struct Scanner {
    module: Vec<String>,
    test: bool,
    /// What the last `#[path = "…"]` said.
    file: Option<String>,
    facts: Vec<Fact>,
}

impl Scanner {
    fn add(&mut self, at: &TokenTree, what: What) {
        let line = at.span().start().line;
        self.facts.push(Fact { line, module: self.module.clone(), test: self.test, what });
    }

    fn walk(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let outside = self.test;
        let mut i = 0;
        while i < tokens.len() {
            match &tokens[i] {
                TokenTree::Group(group) => {
                    if i > 0 && is_punct(&tokens[i - 1], '#') && is_test_attribute(group) {
                        self.test = true;
                    } else if let Some(file) = path_attribute(group) {
                        self.file = Some(file);
                    } else {
                        self.walk(group.stream());
                    }
                    if group.delimiter() == Delimiter::Brace {
                        self.test = outside; // The item the attribute was for ends here,
                    }
                    i += 1;
                }
                TokenTree::Punct(punct) => {
                    if punct.as_char() == ';' {
                        self.test = outside; // or here.
                    }
                    i += 1;
                }
                TokenTree::Ident(ident) => i = self.ident(&tokens, i, ident, outside),
                TokenTree::Literal(_) => i += 1,
            }
        }
        self.test = outside;
    }

    /// Handles what starts with `ident` at `i`; returns where to go on.
    fn ident(&mut self, tokens: &[TokenTree], i: usize, ident: &Ident, outside: bool) -> usize {
        let name = name_of(ident);
        match (name.as_str(), tokens.get(i + 1), tokens.get(i + 2)) {
            ("unsafe", ..) => {
                self.add(&tokens[i], What::Unsafe);
                i + 1
            }
            ("mod", Some(TokenTree::Ident(child)), Some(TokenTree::Group(body))) => {
                self.module.push(name_of(child));
                self.walk(body.stream());
                self.module.pop();
                self.test = outside;
                i + 3
            }
            ("mod", Some(TokenTree::Ident(child)), Some(_)) => {
                let file = self.file.take();
                self.add(&tokens[i], What::Module(name_of(child), file));
                i + 2
            }
            // `pub(crate)`, `pub(super)`: a path only if `in` stands before it.
            ("crate" | "super", None, _) if i == 0 => i + 1,
            (_, Some(bang), Some(TokenTree::Group(_))) if is_punct(bang, '!') => {
                self.add(&tokens[i], What::Macro(name));
                i + 2
            }
            _ => self.path(tokens, i, None),
        }
    }

    /// Reads the path, or the tree of paths, that starts at `i`, below `base` if it is a branch of a tree.
    fn path(&mut self, tokens: &[TokenTree], mut i: usize, base: Option<What>) -> usize {
        let start = i;
        let alone = base.is_none();
        let mut path = base;
        loop {
            match &tokens[i] {
                TokenTree::Ident(ident) => path = Some(self.step(path, &name_of(ident))),
                TokenTree::Punct(punct) if punct.as_char() == '*' => {
                    path = Some(self.step(path, "*"));
                }
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                    self.branches(group, path.as_ref());
                    return i + 1;
                }
                _ => break, // `::<`, `::(`
            }
            i += 1;
            if !is_separator(tokens, i) {
                break;
            }
            i += 2;
            if i >= tokens.len() {
                break;
            }
        }
        if let Some(TokenTree::Punct(bang)) = tokens.get(i)
            && bang.as_char() == '!'
            && matches!(tokens.get(i + 1), Some(TokenTree::Group(_)))
            && let Some(What::Local(path) | What::Other(path)) = &path
            && let Some(last) = path.last()
        {
            self.add(&tokens[start], What::Macro(last.clone()));
        }
        match path {
            // A name alone is no path, and `self` alone is a value.
            Some(What::Other(path)) if path.len() < 2 => {}
            Some(What::Local(_)) if i == start + 1 && alone && is_ident(&tokens[start], "self") => {}
            Some(path) => self.add(&tokens[start], path),
            None => {}
        }
        i.max(start + 1)
    }

    fn branches(&mut self, group: &Group, base: Option<&What>) {
        let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
        let mut i = 0;
        while i < tokens.len() {
            self.path(&tokens, i, base.cloned());
            while i < tokens.len() && !is_punct(&tokens[i], ',') {
                i += 1;
            }
            i += 1;
        }
    }

    /// The path one name further on.
    fn step(&self, path: Option<What>, name: &str) -> What {
        match (path, name) {
            (None, "crate") => What::Local(Vec::new()),
            (None, "self") => What::Local(self.module.clone()),
            (None, "super") => What::Local(parent(&self.module)),
            (None, _) => What::Other(vec![name.to_owned()]),
            (Some(path), "self") => path,
            (Some(What::Local(path)), "super") => What::Local(parent(&path)),
            (Some(What::Local(path)), _) => What::Local(longer(path, name)),
            (Some(What::Other(path)), _) => What::Other(longer(path, name)),
            (Some(other), _) => other,
        }
    }
}

fn parent(module: &[String]) -> Vec<String> {
    module[..module.len().saturating_sub(1)].to_vec()
}

fn longer(mut path: Vec<String>, name: &str) -> Vec<String> {
    path.push(name.to_owned());
    path
}

fn name_of(ident: &Ident) -> String {
    let name = ident.to_string();
    name.strip_prefix("r#").map_or(name.clone(), str::to_owned)
}

fn is_punct(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

fn is_ident(token: &TokenTree, wanted: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == wanted)
}

fn is_separator(tokens: &[TokenTree], i: usize) -> bool {
    tokens.len() > i + 1 && is_punct(&tokens[i], ':') && is_punct(&tokens[i + 1], ':')
}

/// Whether `[…]` is `[test]` or `[cfg(test)]`.
fn is_test_attribute(group: &Group) -> bool {
    let text: String = group.stream().to_string().split_whitespace().collect();
    text == "test" || text == "cfg(test)"
}

/// The file named by `[path = "…"]`.
fn path_attribute(group: &Group) -> Option<String> {
    let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
    match tokens.as_slice() {
        [name, _, TokenTree::Literal(file)] if is_ident(name, "path") => {
            Some(file.to_string().trim_matches('"').to_owned())
        }
        _ => None,
    }
}
