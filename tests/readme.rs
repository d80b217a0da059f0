//! The README's tables of verbs are those of the sources: every public method of the two main types, and no other.

use std::collections::BTreeSet;
use std::path::Path;

/// The public methods of a type, in all files of `src/`.
fn methods(of: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect("src".as_ref(), of, &mut found);
    found
}

fn collect(folder: &Path, of: &str, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, of, found);
            continue;
        }
        let parsed = syn::parse_file(&std::fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for item in parsed.items {
            let syn::Item::Impl(item) = item else { continue };
            let syn::Type::Path(own) = item.self_ty.as_ref() else { continue };
            if item.trait_.is_some() || !own.path.is_ident(of) {
                continue;
            }
            for item in item.items {
                if let syn::ImplItem::Fn(method) = item {
                    if matches!(method.vis, syn::Visibility::Public(_)) && !is_hidden(&method.attrs) {
                        found.insert(method.sig.ident.to_string());
                    }
                }
            }
        }
    }
}

fn is_hidden(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        list.path.is_ident("doc") && list.tokens.to_string() == "hidden"
    })
}

/// The code in the first column of the table below a heading, in order.
fn table(readme: &str, heading: &str) -> Vec<String> {
    let section = readme.split_once(&format!("\n### `{heading}`\n")).unwrap_or_else(|| panic!("no ### `{heading}`")).1;
    let section = section.split("\n#").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")).skip(1);
    let cells = rows.map(|row| row.split(" | ").next().unwrap());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

#[test]
fn every_verb_is_in_the_table() {
    let readme = std::fs::read_to_string("README.md").unwrap();
    for (of, least) in [("WgpuAdam", 50), ("TensorArena", 15)] {
        let methods = methods(of);
        assert!(methods.len() >= least, "the sources are not where they were: {methods:?}");
        let named = table(&readme, of);
        let once: BTreeSet<String> = named.iter().cloned().collect();
        let missing: Vec<_> = methods.difference(&once).collect();
        let unknown: Vec<_> = once.difference(&methods).collect();
        assert!(missing.is_empty(), "README.md: the table of {of} lacks {missing:?}");
        assert!(unknown.is_empty(), "README.md: the table of {of} has {unknown:?}, which {of} has not");
        assert_eq!(named.len(), once.len(), "README.md: the table of {of} names a verb twice: {named:?}");
    }
}

/// The versions that the README tells strangers to write.
#[test]
fn versions_are_those_of_the_manifest() {
    let readme = std::fs::read_to_string("README.md").unwrap();
    let minor = env!("CARGO_PKG_VERSION").rsplit_once('.').unwrap().0;
    let manifest = std::fs::read_to_string("Cargo.toml").unwrap();
    let wgpu = manifest.split_once("\nwgpu = { version = \"").unwrap().1.split('"').next().unwrap();
    let pollster = manifest.split_once("\npollster = \"").unwrap().1.split('"').next().unwrap();
    let rust = env!("CARGO_PKG_RUST_VERSION");
    for line in [
        format!("\nwgpu = \"{wgpu}\"\n"),
        format!("\nwgpu-adam = \"{minor}\"\n"),
        format!("\npollster = \"{pollster}\""),
        format!("`wgpu-adam = {{ version = \"{minor}\", features = [\"safetensors\"] }}`"),
        format!("\n| {minor} | {wgpu} | {rust} or later |\n"),
    ] {
        assert!(readme.contains(&line), "README.md lacks {line:?}");
    }
}
