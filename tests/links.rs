//! Links in the documents lead to files that git tracks, and to headings that are there. Links to other sites are not
//! fetched.

use std::collections::BTreeSet;
use std::process::Command;

/// The lines of a command's output.
fn lines(program: &str, arguments: &[&str]) -> BTreeSet<String> {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The text without code: blocks and spans hold no links.
fn prose(markdown: &str) -> String {
    let mut prose = String::new();
    let mut fenced = false;
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            prose.extend(line.split('`').step_by(2));
            prose.push('\n');
        }
    }
    prose
}

/// The targets of `[text](target)`, `![text](target)` and `[label]: target`.
fn targets(markdown: &str) -> Vec<String> {
    let prose = prose(markdown);
    let inline = prose.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let labelled = prose.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: ").map(|(_, target)| target));
    inline.chain(labelled).map(str::to_owned).collect()
}

/// The fragments of a file's headings, as GitHub makes them.
fn fragments(markdown: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut fenced = false;
    for line in markdown.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        }
        let Some(heading) = line.strip_prefix('#').filter(|_| !fenced) else { continue };
        let Some((_, text)) = heading.split_once(' ') else { continue };
        let kept = text.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let fragment: String = kept.map(|c| if c == ' ' { '-' } else { c }).flat_map(char::to_lowercase).collect();
        let numbered = (1..).map(|number| format!("{fragment}-{number}"));
        found.insert(std::iter::once(fragment.clone()).chain(numbered).find(|new| !found.contains(new)).unwrap());
    }
    found
}

fn is_absolute(target: &str) -> bool {
    target.contains("://") || target.starts_with("mailto:")
}

/// The path of a link's target from the root; none if it leads out of the repository.
fn resolve(from: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// What is wrong with the links of a file.
fn problems(from: &str, text: &str, tracked: &BTreeSet<String>, read: impl Fn(&str) -> String) -> Vec<String> {
    let mut problems = Vec::new();
    for target in targets(text).iter().filter(|target| !is_absolute(target)) {
        let (path, fragment) = target.split_once('#').map_or((target.as_str(), None), |(path, f)| (path, Some(f)));
        let file = if path.is_empty() { Some(from.to_owned()) } else { resolve(from, path) };
        let Some(file) = file.filter(|file| {
            let folder = format!("{file}/");
            tracked.contains(file) || tracked.iter().any(|tracked| tracked.starts_with(&folder))
        }) else {
            problems.push(format!("{from}: {target} leads to no tracked file"));
            continue;
        };
        if fragment.is_some_and(|fragment| file.ends_with(".md") && !fragments(&read(&file)).contains(fragment)) {
            problems.push(format!("{from}: {target} leads to no heading"));
        }
    }
    problems
}

/// The files that git tracks. None in an unpacked package, which is no repository.
fn tracked() -> Option<BTreeSet<String>> {
    std::path::Path::new(".git").exists().then(|| lines("git", &["-c", "safe.directory=*", "ls-files"]))
}

#[test]
fn links_lead_somewhere() {
    let Some(tracked) = tracked() else { return };
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let is_document = |file: &&String| file.ends_with(".md") && !file.starts_with("fuzz/corpus/");
    let documents: Vec<&String> = tracked.iter().filter(is_document).collect();
    assert!(documents.len() > 10, "{documents:?}");
    let problems: Vec<String> = documents.iter().flat_map(|file| problems(file, &read(file), &tracked, read)).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Where the README is read outside of the repository, its relative links still have files.
#[test]
fn links_of_the_readme_are_in_the_package() {
    if tracked().is_none() {
        return;
    }
    let packaged = lines(env!("CARGO"), &["package", "--list", "--allow-dirty", "--offline"]);
    let readme = std::fs::read_to_string("README.md").unwrap();
    assert!(targets(&readme).iter().any(|target| target == "docs/guide.md"), "{:?}", targets(&readme));
    let problems = problems("README.md", &readme, &packaged, |file| std::fs::read_to_string(file).unwrap());
    assert!(problems.is_empty(), "not in the package: {}", problems.join("\n"));
    for file in &packaged {
        assert!(!file.starts_with("tests/") && !file.starts_with("benches/"), "{file} is in the package");
    }
}

#[test]
fn links_are_found() {
    let text = "# A `code` & more\n[a](b.md#c) `[no](x)` ![p](p.png \"title\")\n```\n[no](y)\n# no\n```\n[l]: ../d\n## A\n## A\n";
    assert_eq!(targets(text), ["b.md#c", "p.png", "../d"]);
    assert_eq!(fragments(text), ["a-code--more", "a", "a-1"].map(str::to_owned).into());
    assert_eq!(resolve("docs/a.md", "../b/./c.md").as_deref(), Some("b/c.md"));
    assert_eq!(resolve("a.md", "../b"), None);
    let tracked = ["docs/a.md", "docs/b.md", "p/q"].map(str::to_owned).into();
    let found =
        problems("docs/a.md", "[1](b.md#x)[2](../p)[3](c.md)[4](#here)[5](https://x.org)\n# Here", &tracked, |file| {
            if file == "docs/a.md" { "# Here".into() } else { "# Y".into() }
        });
    assert_eq!(found, ["docs/a.md: b.md#x leads to no heading", "docs/a.md: c.md leads to no tracked file"]);
}
