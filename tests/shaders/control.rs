//! The same tests for the shaders of gradient control: gradient_norm.wgsl, control.wgsl with bias_correction.wgsl, and
//! move_counts.wgsl.

use naga::{ArraySize, Module, TypeInner};

use crate::layout::{self, ClassRequest, Request, State, binding, flags, hyper_flags, overrides};
use crate::{
    HostStruct, Report, bindings, constants, declared_overrides, frame, hyper, members, parse, tile, translate,
};

const BIAS_CORRECTION: &str = include_str!("../../shaders/bias_correction.wgsl");

/// A module, and the host's description of it.
struct Shader {
    name: &'static str,
    /// Its heading in the manual.
    heading: &'static str,
    source: &'static str,
    entry: &'static str,
    /// Overrides of type bool.
    flags: &'static [&'static str],
    /// Overrides of type u32, and the values to test.
    numbers: &'static [(&'static str, &'static [u32])],
    structs: Vec<HostStruct>,
    bindings: Vec<(&'static str, (u32, u32), &'static str)>,
}

const WORKGROUP_SIZES: (&str, &[u32]) = (overrides::WORKGROUP_SIZE, &[32, 64, 256]);

fn shaders() -> Vec<Shader> {
    let norm = |name, source| Shader {
        name,
        heading: "## `gradient_norm.wgsl`",
        source,
        entry: layout::NORM_ENTRY_POINT,
        flags: &[overrides::TILED, overrides::LARGEST],
        numbers: &[WORKGROUP_SIZES, (overrides::GRID_WIDTH, &[7, 16_384])],
        structs: vec![frame(), tile()],
        bindings: vec![
            ("param", binding::PARAM, "storage, read_write"),
            ("grad", binding::GRAD, "storage, read"),
            ("moments", binding::MOMENTS, "storage, read_write"),
            ("tiles", binding::TILES, "storage, read"),
            ("frame", binding::FRAME, "uniform"),
            ("ledger", binding::PARTIALS, "storage, read_write"),
        ],
    };
    vec![
        norm(
            "storage_vec4.wgsl + gradient_norm.wgsl",
            concat!(include_str!("../../shaders/storage_vec4.wgsl"), include_str!("../../shaders/gradient_norm.wgsl")),
        ),
        norm(
            "storage_scalar.wgsl + gradient_norm.wgsl",
            concat!(
                include_str!("../../shaders/storage_scalar.wgsl"),
                include_str!("../../shaders/gradient_norm.wgsl")
            ),
        ),
        Shader {
            name: "bias_correction.wgsl + control.wgsl",
            heading: "## `control.wgsl`",
            source: concat!(
                include_str!("../../shaders/bias_correction.wgsl"),
                include_str!("../../shaders/control.wgsl")
            ),
            entry: layout::CONTROL_ENTRY_POINT,
            flags: &[],
            numbers: &[WORKGROUP_SIZES],
            structs: vec![hyper(), class_request(), state()],
            bindings: vec![
                ("ledger", binding::LEDGER, "storage, read_write"),
                ("state", binding::STATE, "storage, read_write"),
                ("skipped", binding::SKIPPED, "storage, read_write"),
                ("request", binding::REQUEST, "storage, read"),
            ],
        },
        Shader {
            name: "move_counts.wgsl",
            heading: "## `move_counts.wgsl`",
            source: include_str!("../../shaders/move_counts.wgsl"),
            entry: layout::MOVE_ENTRY_POINT,
            flags: &[],
            numbers: &[WORKGROUP_SIZES],
            structs: vec![],
            bindings: vec![
                ("outgrown", binding::OUTGROWN, "storage, read_write"),
                ("skipped", binding::GROWN, "storage, read_write"),
            ],
        },
    ]
}

fn class_request() -> HostStruct {
    host_struct!(ClassRequest { hyper, beta1, beta2, t, tensor, block, lr, eps, least_eps })
}

fn state() -> HostStruct {
    host_struct!(State {
        loss_scale,
        growth_tracker,
        found_inf_outside,
        found_inf,
        grad_norm,
        clip_factor,
        step_low,
        step_high,
        taken_low,
        taken_high,
        skipped_low,
        skipped_high,
    })
}

/// Without its array, but with the padding before the array.
fn request() -> HostStruct {
    host_struct!(Request {
        flags,
        classes,
        stepping,
        partials,
        first_partial,
        first_block,
        max_norm,
        grad_scale,
        growth_factor,
        backoff_factor,
        growth_interval,
        step_low,
        step_high,
        padding,
    })
}

/// Every combination of values of these overrides.
fn variants(shader: &Shader) -> Vec<naga::back::PipelineConstants> {
    let mut variants = vec![naga::back::PipelineConstants::default()];
    let flags = shader.flags.iter().map(|flag| (*flag, &[0, 1][..]));
    for (name, values) in flags.chain(shader.numbers.iter().copied()) {
        let with = |variant: &naga::back::PipelineConstants, value: u32| {
            let mut variant = variant.clone();
            variant.insert(name.to_owned(), f64::from(value));
            variant
        };
        variants = variants.iter().flat_map(|variant| values.iter().map(|value| with(variant, *value))).collect();
    }
    variants
}

#[test]
fn control_is_translated_for_every_backend() {
    let mut report = Report::default();
    for shader in shaders() {
        let (module, info) = match parse(shader.source) {
            Ok(parsed) => parsed,
            Err(problem) => {
                report.check(|| shader.name.into(), Some(problem));
                continue;
            }
        };
        for constants in variants(&shader) {
            for (backend, result) in translate(&module, &info, shader.entry, &constants) {
                report.check(|| format!("{} {constants:?} for {backend}", shader.name), result.err());
            }
        }
    }
    // 6 variants of each norm, 3 of control and move_counts.
    report.finish((6 + 6 + 3 + 3) * 4);
}

#[test]
fn host_and_control_agree() {
    let mut report = Report::default();
    for shader in shaders() {
        let name = shader.name;
        let (module, _) = parse(shader.source).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        for (structure, host, size) in shader.structs {
            report.equal(|| format!("{name}: {structure}"), members(&module, structure), Some((host, size)));
        }
        let places = shader.bindings.iter().map(|(name, at, space)| ((*name).to_owned(), *at, *space));
        let mut host: Vec<_> = places.collect();
        host.sort();
        report.equal(|| format!("{name}: bindings"), bindings(&module), host);
        let bools = shader.flags.iter().map(|flag| ((*flag).to_owned(), true, true));
        let mut host: Vec<_> =
            bools.chain(shader.numbers.iter().map(|(number, _)| ((*number).to_owned(), false, true))).collect();
        host.sort();
        let wgsl = declared_overrides(&module);
        report.equal(|| format!("{name}: overrides as (name, is bool, has a default)"), wgsl, host);
        let entries: Vec<&str> = module.entry_points.iter().map(|entry| entry.name.as_str()).collect();
        report.equal(|| format!("{name}: entry points"), entries, vec![shader.entry]);
        match shader.entry {
            layout::CONTROL_ENTRY_POINT => control(&mut report, &module),
            layout::NORM_ENTRY_POINT => {
                let quads = constants(&module).into_iter().find(|(name, _)| name == "QUADS");
                let quads = quads.map(|(_, quads)| quads * 4);
                report.equal(|| format!("{name}: elements of an invocation"), quads, Some(layout::NORM_ELEMENTS));
            }
            _ => {}
        }
    }
    let (correction, _) = parse(BIAS_CORRECTION).unwrap_or_else(|problem| panic!("bias_correction.wgsl: {problem}"));
    let none = correction.global_variables.is_empty() && correction.overrides.is_empty();
    report.equal(|| "bias_correction.wgsl: functions alone".into(), none, true);
    report.finish(2 * 6 + 13 + 3 + 1);
}

/// Tests of control.wgsl alone: the request and its array, flags, the workgroup's arrays.
fn control(report: &mut Report, module: &Module) {
    let (_, mut host, size) = request();
    let wgsl = members(module, "Request").map(|(members, _)| members).unwrap_or_default();
    host.retain(|(name, _)| name != "padding");
    host.push(("class_requests".into(), size));
    report.equal(|| "control.wgsl: Request".into(), wgsl, host);
    report.equal(
        || "control.wgsl: from one class's request to the next".into(),
        stride(module),
        Some(size_of::<ClassRequest>() as u32),
    );
    macro_rules! flags {
        ($($flag:ident),* $(,)?) => { [$((stringify!($flag), flags::$flag)),*] };
    }
    let host = flags![SKIP_NONFINITE, CLIP_NORM, INFINITY_NORM, DYNAMIC_SCALE, DEVICE_STEPS, FOUND_INF];
    let mut host: Vec<(String, u32)> = host.map(|(name, flag)| (name.to_owned(), flag)).into();
    host.sort();
    report.equal(|| "control.wgsl: flags".into(), request_flags(module), host);
    let skip = constants(module).into_iter().find(|(name, _)| name == "SKIP").map(|(_, flag)| flag);
    report.equal(|| "control.wgsl: the flag of Hyper that it sets".into(), skip, Some(hyper_flags::SKIP));
    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx()).unwrap_or_else(|problem| panic!("control.wgsl: {problem}"));
    let shared = module.global_variables.iter().filter(|(_, global)| global.space == naga::AddressSpace::WorkGroup);
    let bytes: u32 = shared.map(|(_, global)| layouter[global.ty].size.next_multiple_of(16)).sum();
    report.equal(|| "control.wgsl: bytes of its workgroup".into(), bytes, layout::CONTROL_WORKGROUP_STORAGE);
    for (_, global) in module.global_variables.iter().filter(|(_, global)| global.binding.is_none()) {
        if let TypeInner::Array { size, .. } = module.types[global.ty].inner {
            let name = global.name.clone().unwrap_or_default();
            let length = if let ArraySize::Constant(length) = size { length.get() } else { 0 };
            report.equal(|| format!("control.wgsl: length of {name}"), length, layout::WORKGROUP_SIZE);
        }
    }
}

/// Bytes between consecutive elements of the array at the end of Request.
fn stride(module: &Module) -> Option<u32> {
    let (_, request) = module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some("Request"))?;
    let TypeInner::Struct { members, .. } = &request.inner else { return None };
    match module.types[members.last()?.ty].inner {
        TypeInner::Array { stride, size: ArraySize::Dynamic, .. } => Some(stride),
        _ => None,
    }
}

/// The constants of control.wgsl that are flags of its request. SKIP is a flag of Hyper, INFINITY is no flag.
fn request_flags(module: &Module) -> Vec<(String, u32)> {
    constants(module).into_iter().filter(|(name, _)| !["SKIP", "INFINITY"].contains(&name.as_str())).collect()
}

/// Each shader's section of shaders/README.md agrees with the shader.
#[test]
fn the_manual_agrees_with_control() {
    const MANUAL: &str = include_str!("../../shaders/README.md");
    let mut report = Report::default();
    for shader in shaders() {
        let section = MANUAL.split_once(shader.heading).map_or("", |(_, rest)| rest);
        let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
        let mut row = |begin: String| {
            let there = section.lines().any(|line| line.starts_with(&begin));
            report.check(
                || format!("{}: {}", shader.name, shader.heading),
                (!there).then(|| format!("no line begins {begin:?}")),
            );
        };
        let (module, _) = parse(shader.source).unwrap_or_else(|problem| panic!("{}: {problem}", shader.name));
        for (name, (group, binding), space) in bindings(&module) {
            row(format!("| {group} | {binding} | `{name}` | {space}"));
        }
        for (name, is_bool, _) in declared_overrides(&module) {
            row(format!("| `{name}` | {} |", if is_bool { "bool | false" } else { "u32" }));
        }
        for (name, ..) in &shader.structs {
            let (members, size) = members(&module, name).unwrap_or_default();
            let members: Vec<String> = members.into_iter().map(|(name, _)| name).collect();
            row(format!("| `{name}` | {size} | {} (", members.join(", ")));
        }
        if shader.entry == layout::CONTROL_ENTRY_POINT {
            let (members, _) = members(&module, "Request").unwrap_or_default();
            let members: Vec<String> = members.into_iter().map(|(name, _)| name).collect();
            row(format!(
                "| `Request` | {} and {} a class | {} (",
                size_of::<Request>(),
                size_of::<ClassRequest>(),
                members.join(", ")
            ));
            for (name, flag) in request_flags(&module) {
                row(format!("| `{name}` | {flag} |"));
            }
        }
        row(format!("The entry point is `{}`.", shader.entry));
    }
    report.finish(2 * (6 + 2 + 2 + 1) + (4 + 1 + 3 + 1 + 6 + 1) + (2 + 1 + 1));
}
