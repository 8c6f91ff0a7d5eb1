//! Imports between the files of a crate have no cycles, except between a module and its own submodules.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::iter::Peekable;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree, token_stream};

/// The crates whose files are checked.
const CRATES: &[&str] = &[
    "admin",
    "agents",
    "aws",
    "bridge",
    "connectors",
    "core",
    "embedded",
    "queue",
    "server",
    "standalone",
    "store",
];

/// A module's path within its crate. The root is empty.
type Module = Vec<String>;

/// The modules that each module's program code imports.
type Imports = BTreeMap<Module, BTreeSet<Module>>;

#[test]
fn files_of_a_crate_have_no_import_cycles() {
    for name in CRATES {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../crates")
            .join(name)
            .join("src");
        let cycles = cycles(&imports(&read(&source)));
        assert!(cycles.is_empty(), "crate {name} has import cycles: {cycles:#?}");
    }
}

#[test]
fn planted_cycle_is_found_and_parent_with_child_is_allowed() {
    let planted = [
        ("", "mod a; mod b; mod c; mod d; mod e;"),
        ("a", "use crate::b::{self, run};"),
        ("b", "fn run() { match x { _ => crate::c::go() } }"),
        ("c", "mod inner; use super::a as first;"),
        // A parent and its child may import each other; tests may import anything.
        ("c::inner", "use super::Thing; #[cfg(test)] mod tests { use crate::a; }"),
        // A path that begins with a child module is found too, but not a child's name later in a path.
        ("d", "mod inner; fn run() { inner::run(); b::inner::run() }"),
        ("d::inner", "use crate::e;"),
        ("e", "use crate::d;"),
    ];
    let module = |path: &str| -> Module {
        path.split("::")
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let files = |planted: &[(&str, &str)]| {
        planted
            .iter()
            .map(|(path, text)| (module(path), (*text).to_owned()))
            .collect()
    };
    let found = cycles(&imports(&files(&planted)));
    assert_eq!(found, [vec!["a", "b", "c"], vec!["d", "d::inner", "e"]]);
    let mut mended = planted;
    mended[3].1 = "mod inner; use inner::Other;";
    mended[7].1 = "use crate::a;";
    assert_eq!(cycles(&imports(&files(&mended))), Vec::<Vec<String>>::new());
}

/// Source text of the files below a crate's `src`, by module.
fn read(source: &Path) -> BTreeMap<Module, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![(source.to_owned(), Module::new())];
    while let Some((folder, module)) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let mut inner = module.clone();
            if path.is_dir() {
                inner.push(name);
                folders.push((path, inner));
            } else if path.extension().is_some_and(|it| it == "rs") {
                if !["mod", "lib", "main"].contains(&name.as_str()) {
                    inner.push(name);
                }
                files.insert(inner, fs::read_to_string(&path).unwrap());
            }
        }
    }
    files
}

fn imports(files: &BTreeMap<Module, String>) -> Imports {
    let mut imports = Imports::new();
    for (module, text) in files {
        let stream: TokenStream = text
            .parse()
            .unwrap_or_else(|error| panic!("{}: {error}", module.join("::")));
        let mut paths = Vec::new();
        let mut starts: BTreeSet<String> = ["crate", "super", "self"].map(str::to_owned).into();
        let is_child = |other: &&Module| other.len() == module.len() + 1 && other.starts_with(module);
        starts.extend(files.keys().filter(is_child).filter_map(|it| it.last().cloned()));
        collect(stream, &starts, &mut paths);
        let named = paths.iter().filter_map(|path| resolve(path, module, files));
        imports.insert(module.clone(), named.filter(|it| it != module).collect());
    }
    imports
}

/// The module of the longest prefix of a path that is a file. `None` for the crate's root.
fn resolve(path: &[String], within: &Module, files: &BTreeMap<Module, String>) -> Option<Module> {
    let mut full = match path.first()?.as_str() {
        "crate" => Module::new(),
        _ => within.clone(),
    };
    for segment in path {
        match segment.as_str() {
            "crate" | "self" => {}
            "super" => drop(full.pop()),
            name => full.push(name.to_owned()),
        }
    }
    while !full.is_empty() && !files.contains_key(&full) {
        full.pop();
    }
    (!full.is_empty()).then_some(full)
}

/// Collects the paths that begin with one of `starts`, but not those of test code.
fn collect(stream: TokenStream, starts: &BTreeSet<String>, paths: &mut Vec<Module>) {
    let mut tokens = stream.into_iter().peekable();
    let mut follows_colon = false;
    while let Some(token) = tokens.next() {
        let is_start = !follows_colon;
        follows_colon = is_punct(&token, ':');
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '#' && tokens.next_if(is_test_attribute).is_some() => {
                skip_item(&mut tokens);
            }
            TokenTree::Ident(ident) if is_start && starts.contains(&ident.to_string()) => {
                follow(vec![ident.to_string()], &mut tokens, paths);
            }
            TokenTree::Group(group) => collect(group.stream(), starts, paths),
            _ => {}
        }
    }
}

fn is_punct(token: &TokenTree, sign: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == sign)
}

fn is_test_attribute(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.stream().to_string().replace(' ', "") == "cfg(test)")
}

fn skip_item(tokens: &mut Peekable<token_stream::IntoIter>) {
    for token in tokens {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == ';' => return,
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return,
            _ => {}
        }
    }
}

/// Continues after the first segments of a path: further segments, or the branches of a `use`.
fn follow(mut path: Module, tokens: &mut Peekable<token_stream::IntoIter>, paths: &mut Vec<Module>) {
    while is_colons(tokens) {
        match tokens.next() {
            Some(TokenTree::Ident(ident)) => path.push(ident.to_string()),
            Some(TokenTree::Group(group)) => return branches(&path, group.stream(), paths),
            _ => break,
        }
    }
    if path.len() > 1 {
        paths.push(path);
    }
}

fn is_colons(tokens: &mut Peekable<token_stream::IntoIter>) -> bool {
    let colon = |token: &TokenTree| is_punct(token, ':');
    tokens.next_if(colon).is_some() && tokens.next_if(colon).is_some()
}

fn branches(path: &Module, stream: TokenStream, paths: &mut Vec<Module>) {
    let mut tokens = stream.into_iter().peekable();
    let mut at_start = true;
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Ident(ident) if at_start => {
                let mut branch = path.clone();
                branch.push(ident.to_string());
                follow(branch, &mut tokens, paths);
                at_start = false;
            }
            TokenTree::Punct(punct) if punct.as_char() == ',' => at_start = true,
            _ => {}
        }
    }
}

/// Strongly connected groups of modules, without the edges from a module to one of its ancestors.
fn cycles(imports: &Imports) -> Vec<Vec<String>> {
    let reached: Imports = imports
        .keys()
        .map(|module| (module.clone(), reachable(module, imports)))
        .collect();
    let mut found: BTreeSet<Vec<String>> = BTreeSet::new();
    for (module, reaches) in &reached {
        let back = |other: &&Module| reached.get(*other).is_some_and(|it| it.contains(module));
        let mut group: Vec<String> = reaches.iter().filter(back).map(|it| it.join("::")).collect();
        if group.len() > 1 {
            group.sort();
            found.insert(group);
        }
    }
    found.into_iter().collect()
}

fn reachable(from: &Module, imports: &Imports) -> BTreeSet<Module> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from.clone()];
    while let Some(module) = open.pop() {
        let outward = imports
            .get(&module)
            .into_iter()
            .flatten()
            .filter(|it| !module.starts_with(it));
        open.extend(outward.filter(|it| seen.insert((*it).clone())).cloned());
    }
    seen
}
