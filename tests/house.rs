//! The structure of the sources: folders are floors, imports point down, and files do not import each other in a
//! circle.
//!
//! ARCHITECTURE.md lists the floors and their purposes. Unit tests may import anything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::Visit;

/// The floors of `src/`, from the top. A name is a file, or a folder with its file.
const FLOORS: [&[&str]; 14] = [
    &["lib"],
    &["optimizer"],
    &["record"],
    &["checkpoint"],
    &["control"],
    &["state_dict"],
    &["kernels"],
    &["registry"],
    &["plan"],
    &["tensors"],
    &["transfer"],
    &["device"],
    &["options"],
    &["error", "layout", "planes", "sort"],
];

/// A module: the names of its path; empty for the root.
type Module = Vec<String>;

/// The imports of each module of a crate.
fn arrows(root: &str) -> BTreeMap<Module, BTreeSet<Module>> {
    let mut files = BTreeMap::new();
    collect(root.as_ref(), &mut Module::new(), &mut files);
    let known: BTreeSet<Module> = files.keys().cloned().collect();
    files.into_iter().map(|(module, file)| (module.clone(), imports(&module, &file, &known))).collect()
}

fn collect(folder: &Path, module: &mut Module, files: &mut BTreeMap<Module, PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let is_root = matches!(name.as_str(), "lib" | "main") && module.is_empty();
        if !is_root {
            module.push(name);
        }
        if path.is_dir() {
            collect(&path, module, files);
        } else {
            files.insert(module.clone(), path);
        }
        if !is_root {
            module.pop();
        }
    }
}

fn imports(module: &Module, file: &Path, known: &BTreeSet<Module>) -> BTreeSet<Module> {
    let text = std::fs::read_to_string(file).unwrap();
    let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut paths = Paths::default();
    paths.visit_file(&parsed);
    let absolute = |path: &Vec<String>| {
        let mut names = path.iter().map(String::as_str).peekable();
        let mut base = match *names.peek()? {
            "crate" => Module::new(),
            "self" | "super" => module.clone(),
            first if known.contains(&[module.as_slice(), &[first.to_owned()]].concat()) => module.clone(),
            _ => return None,
        };
        for name in names {
            match name {
                "crate" | "self" => {}
                "super" => drop(base.pop()),
                name => base.push(name.to_owned()),
            }
        }
        // The names after a module's are items in it.
        while !known.contains(&base) {
            base.pop()?;
        }
        Some(base)
    };
    let mut targets: BTreeSet<Module> = paths.0.iter().filter_map(absolute).collect();
    targets.remove(module);
    targets
}

/// All paths of a file, outside of its unit tests and macros.
#[derive(Default)]
struct Paths(Vec<Vec<String>>);

impl Paths {
    fn use_tree(&mut self, tree: &syn::UseTree, before: &mut Vec<String>) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.use_tree(&path.tree, before);
                before.pop();
            }
            syn::UseTree::Name(syn::UseName { ident }) | syn::UseTree::Rename(syn::UseRename { ident, .. }) => {
                self.0.push([before.as_slice(), &[ident.to_string()]].concat());
            }
            syn::UseTree::Glob(_) => self.0.push(before.clone()),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.use_tree(tree, before)),
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.ident != "tests" {
            syn::visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.use_tree(&item.tree, &mut Vec::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            self.0.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        syn::visit::visit_path(self, path);
    }
}

/// A module's file, for messages.
fn file(module: &Module) -> String {
    if module.is_empty() { "the root".into() } else { format!("{}.rs", module.join("/")) }
}

fn is_test(module: &Module) -> bool {
    module.iter().any(|name| name == "tests")
}

fn floor(module: &Module) -> usize {
    let name = module.first().map_or("lib", String::as_str);
    let floor = FLOORS.iter().position(|floor| floor.contains(&name));
    floor.unwrap_or_else(|| panic!("{} is on no floor: add it to FLOORS and to ARCHITECTURE.md", file(module)))
}

/// The first circle found, with its first file repeated at the end.
fn circle(arrows: &BTreeMap<Module, BTreeSet<Module>>) -> Option<Vec<String>> {
    fn walk<'a>(
        at: &'a Module,
        arrows: &'a BTreeMap<Module, BTreeSet<Module>>,
        way: &mut Vec<&'a Module>,
        done: &mut BTreeSet<&'a Module>,
    ) -> Option<Vec<String>> {
        if let Some(start) = way.iter().position(|module| *module == at) {
            return Some(way[start..].iter().copied().chain([at]).map(file).collect());
        }
        if !done.insert(at) {
            return None;
        }
        way.push(at);
        let found = arrows[at].iter().find_map(|next| walk(next, arrows, way, done));
        way.pop();
        found
    }
    let mut done = BTreeSet::new();
    arrows.keys().find_map(|module| walk(module, arrows, &mut Vec::new(), &mut done))
}

fn without_tests(mut arrows: BTreeMap<Module, BTreeSet<Module>>) -> BTreeMap<Module, BTreeSet<Module>> {
    arrows.retain(|module, _| !is_test(module));
    arrows.values_mut().for_each(|targets| targets.retain(|module| !is_test(module)));
    arrows
}

#[test]
fn imports_point_down() {
    let arrows = without_tests(arrows("src"));
    assert!(arrows.len() > 60, "the sources are not where they were");
    for (module, targets) in &arrows {
        for target in targets {
            let up = floor(target) < floor(module);
            assert!(!up, "{} imports {}, which is on a floor above", file(module), file(target));
        }
    }
    // The loop above finds modules on no floor; this one finds floors without a module.
    for name in FLOORS.iter().copied().flatten().filter(|name| **name != "lib") {
        assert!(arrows.contains_key(&vec![(*name).to_owned()]), "there is no {name}");
    }
}

#[test]
fn no_circles() {
    for root in ["src", "xtask/src"] {
        let circle = circle(&without_tests(arrows(root)));
        assert!(circle.is_none(), "{root}: a circle of imports: {}", circle.unwrap_or_default().join(" -> "));
    }
}

/// The test finds each kind of import.
#[test]
fn arrows_are_found() {
    let found = arrows("src");
    let module = |path: &str| path.split('/').map(str::to_owned).collect::<Module>();
    let cases = [
        ("optimizer/step", "optimizer", "by `crate::`"),
        ("record/stepper", "record/prepared", "by `super::`"),
        ("registry", "registry/overlap", "by a child's name"),
        ("plan", "plan/runs", "by a path in code"),
    ];
    for (from, to, how) in cases {
        assert!(found[&module(from)].contains(&module(to)), "{from} imports {to} {how}: {:?}", found[&module(from)]);
    }
    let pair = |a: &str, b: &str| (module(a), BTreeSet::from([module(b)]));
    let round = BTreeMap::from([pair("a", "b"), pair("b", "c"), pair("c", "b")]);
    assert_eq!(circle(&round).unwrap(), ["b.rs", "c.rs", "b.rs"]);
}

/// A file has one idea, and is short enough to read in one sitting.
#[test]
fn files_are_short() {
    let mut files = BTreeMap::new();
    collect("src".as_ref(), &mut Module::new(), &mut files);
    for (module, path) in files.iter().filter(|(module, _)| !is_test(module)) {
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().take_while(|line| !(line.starts_with("#[cfg(") && line.contains("test"))).count();
        assert!(lines <= 300, "{} has {lines} lines", file(module));
    }
}
