//! For any set of tensors, groups, buffers, offsets, missing gradients and limits: every element is stepped exactly
//! once, with its own gradient, state and hyper block, and no other element is stepped. Every gradient is measured
//! exactly once.

mod norms;

use std::collections::HashMap;

use proptest::prelude::*;

use super::spans::Storage;
use super::{Class, Code, Dispatch, Input, Limits, Place, Plan, Work, runs};
use crate::layout::{HYPERS, Tile};
use crate::plan::sharing::Sharing;
use crate::planes::Planes;
use crate::registry::windows::{Request, lay_out};

/// Where the gradient, the state and the options of a stepped element come from.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Step {
    grad: (u32, u64),
    moment: (u32, u64),
    class: u32,
}

type Steps = HashMap<(u32, u64), Step>;

/// Repeats the addressing of adam.wgsl, invocation by invocation. Returns an error where the shader would go wrong or
/// WebGPU would reject the dispatch.
fn simulate(plan: &Plan, planes: &[u64], limits: &Limits) -> Result<Steps, String> {
    let mut steps = Steps::new();
    let workgroup_size = limits.workgroup_size;
    for dispatch in &plan.dispatches {
        check_limits(dispatch, planes, limits)?;
        if dispatch.first_hyper % limits.hyper_alignment != 0 {
            return Err(format!("hyper blocks from {} on cannot be bound", dispatch.first_hyper));
        }
        let frame = dispatch.frame;
        let (columns, rows) = dispatch.workgroups;
        if rows > 1 && columns != limits.grid_width() {
            return Err(format!("a folded grid {columns} wide"));
        }
        for workgroup in 0..columns * rows {
            for local_index in 0..workgroup_size {
                let invocation = workgroup * workgroup_size + local_index;
                if let Some((begin, end)) = dispatch.tiles {
                    let record = invocation / limits.sharing.tile_invocations();
                    if record >= frame.length {
                        continue;
                    }
                    let at = begin + u64::from(record);
                    assert!(at < end, "a record of another dispatch");
                    let Tile { param, grad, moment, length_hyper } = plan.tiles[at as usize];
                    // The kernel decides which invocation steps which of the 64 quads.
                    let quads = 1 << dispatch.kernel.quads_log2;
                    let first = invocation % limits.sharing.tile_invocations() * quads;
                    for quad in first..first + quads {
                        let run = (param, grad, moment, length_hyper & 0xffff, length_hyper >> 16);
                        step_quad(dispatch, plan.hyper_stride, run, quad, &mut steps)?;
                    }
                } else {
                    let places = (frame.param, frame.grad, frame.moment);
                    if dispatch.kernel.at_start != (places == (0, 0, 0)) {
                        return Err(format!("at_start is {}, {frame:?}", dispatch.kernel.at_start));
                    }
                    let run = (frame.param, frame.grad, frame.moment, frame.length, 0);
                    let quads = 1 << dispatch.kernel.quads_log2;
                    for quad in invocation * quads..(invocation + 1) * quads {
                        step_quad(dispatch, plan.hyper_stride, run, quad, &mut steps)?;
                    }
                }
            }
        }
    }
    Ok(steps)
}

fn check_limits(dispatch: &Dispatch, planes: &[u64], limits: &Limits) -> Result<(), String> {
    for binding in [Some(dispatch.param), dispatch.grad].into_iter().flatten() {
        if binding.size > limits.binding || binding.offset % limits.alignment != 0 || binding.size % 4 != 0 {
            return Err(format!("{binding:?} breaks {limits:?}"));
        }
    }
    let records = dispatch.tiles.map_or(0, |(begin, end)| end - begin);
    // Tile records are bound from `begin` on.
    if dispatch.tiles.is_some_and(|(begin, _)| begin * 16 % limits.alignment != 0) {
        return Err(format!("tile records that cannot be bound: {dispatch:?}"));
    }
    let most = limits.workgroups;
    if records * 16 > limits.binding || dispatch.workgroups.0 > most || dispatch.workgroups.1 > most {
        return Err(format!("{dispatch:?} breaks {limits:?}"));
    }
    if u64::from(dispatch.frame.plane) != planes[dispatch.window as usize] {
        return Err(format!("wrong frame: {dispatch:?}"));
    }
    Ok(())
}

fn step_quad(
    dispatch: &Dispatch,
    hyper_stride: u32,
    (param, grad, moment, length, hyper): (u32, u32, u32, u32, u32),
    quad: u32,
    steps: &mut Steps,
) -> Result<(), String> {
    if 4 * quad >= length {
        return Ok(());
    }
    let whole_quads = [param, grad, moment, length].iter().all(|place| place % 4 == 0);
    if dispatch.kernel.storage == Storage::Vec4 && !whole_quads {
        return Err(format!("a vec4 dispatch at odd places: {param} {grad} {moment} {length}"));
    }
    let grad_binding = dispatch.grad.unwrap_or(dispatch.param);
    for element in (4 * quad..length.min(4 * quad + 4)).map(u64::from) {
        let at = |binding: super::Binding, start: u32| {
            let end = (u64::from(start) + element + 1) * 4;
            let place = binding.offset / 4 + u64::from(start) + element;
            if end <= binding.size { Ok((binding.buffer, place)) } else { Err(format!("{end} is outside {binding:?}")) }
        };
        let step = Step {
            grad: at(grad_binding, grad)?,
            moment: (dispatch.window, u64::from(moment) + element),
            class: (dispatch.first_hyper + hyper) / hyper_stride,
        };
        if hyper >= HYPERS || !(dispatch.first_hyper + hyper).is_multiple_of(hyper_stride) {
            return Err(format!("hyper block {hyper}"));
        }
        let place = at(dispatch.param, param)?;
        if steps.insert(place, step).is_some() {
            return Err(format!("{place:?} is stepped twice"));
        }
    }
    Ok(())
}

/// A tensor as a user might have it.
#[derive(Clone, Debug)]
struct Spec {
    buffer: u32,
    follows: Follows,
    length: u64,
    group: u32,
    late: bool,
    grad: Grad,
}

#[derive(Clone, Copy, Debug)]
enum Follows {
    AtOnce,
    After(u64),
    /// At a place of an arena, which the tensor fills.
    Aligned,
    /// At a place of an arena that belongs to a longer tensor: its other elements follow.
    InLonger,
}

#[derive(Clone, Copy, Debug)]
enum Grad {
    None,
    /// Laid out like the parameters, in another buffer.
    Alike,
    /// In the parameter's buffer, right behind it.
    Interleaved,
    /// One after another in one buffer, whatever the parameters' buffers are.
    Packed,
    /// The beginning of a longer tensor's gradient: other gradients follow.
    OfLonger,
    Own,
}

const PLAIN: Code = Code { amsgrad: false, decoupled_weight_decay: false, gradient_control: false, clip_value: false };

const GROUPS: [(Code, bool); 4] = [
    (PLAIN, true),
    (PLAIN, false),
    (Code { amsgrad: true, ..PLAIN }, true),
    (Code { decoupled_weight_decay: true, ..PLAIN }, true),
];

/// Returns the input that the optimizer would make for these tensors, and each window's planes.
fn input(specs: &[Spec], limits: &Limits) -> (Input, Vec<u64>) {
    let mut ends: HashMap<u32, u64> = HashMap::new();
    let mut requests = Vec::new();
    let mut grads = Vec::new();
    for (tensor, spec) in (0_u32..).zip(specs) {
        let end = ends.entry(spec.buffer).or_default();
        let param = match spec.follows {
            Follows::AtOnce => *end,
            Follows::After(gap) => *end + gap,
            Follows::Aligned | Follows::InLonger => end.next_multiple_of(64),
        };
        let arena = matches!((spec.follows, spec.grad), (Follows::Aligned, Grad::Alike | Grad::None | Grad::OfLonger));
        let padding = if arena { (param + spec.length).next_multiple_of(64) - param - spec.length } else { 0 };
        *end = param + spec.length + padding;
        if matches!(spec.follows, Follows::InLonger) {
            *end = (*end + 17).next_multiple_of(64);
        }
        let grad_padding = if matches!(spec.grad, Grad::OfLonger) { 0 } else { padding };
        let grad = match spec.grad {
            Grad::None => None,
            Grad::Alike => Some(Place { buffer: 100 + spec.buffer, start: param }),
            // A gradient too far away for one binding is refused before planning.
            Grad::Interleaved if spec.length * 4 + 16 + limits.alignment > limits.binding => None,
            Grad::Interleaved => {
                *end += spec.length;
                Some(Place { buffer: spec.buffer, start: param + spec.length })
            }
            Grad::Packed => {
                let end = ends.entry(200).or_default();
                *end += spec.length;
                Some(Place { buffer: 200, start: *end - spec.length })
            }
            Grad::OfLonger => {
                let end = ends.entry(300).or_default();
                let start = *end;
                *end = (start + spec.length + 17).next_multiple_of(64);
                Some(Place { buffer: 300, start })
            }
            Grad::Own => Some(Place { buffer: 1000 + tensor, start: u64::from(tensor % 3) }),
        };
        grads.push(grad.map(|grad| (grad, grad_padding)));
        let planes = Planes::new(GROUPS[spec.group as usize].0.amsgrad);
        requests.push(Request { buffer: spec.buffer, planes, param, length: spec.length, padding, tensor });
    }
    let (windows, pieces) = lay_out(requests, 0, limits.binding);
    let mut input = Input::default();
    let mut numbers: HashMap<(u32, bool), u32> = HashMap::new();
    for piece in pieces {
        let spec = &specs[piece.tensor as usize];
        let Some((grad, padding)) = grads[piece.tensor as usize] else { continue };
        let class = *numbers.entry((spec.group, spec.late)).or_insert_with(|| {
            let (code, padding_stays_zero) = GROUPS[spec.group as usize];
            input.classes.push(Class { group: spec.group, code, padding_stays_zero });
            input.classes.len() as u32 - 1
        });
        let is_end = piece.start + piece.length == spec.length;
        input.work.push(Work {
            tensor: piece.tensor,
            class,
            param: Place { buffer: spec.buffer, start: piece.param },
            grad: Place { start: grad.start + piece.start, ..grad },
            window: piece.window,
            moment: piece.moment,
            length: piece.length,
            padding: if is_end { piece.padding.min(padding) } else { 0 },
        });
    }
    (input, windows.iter().map(|window| window.elements).collect())
}

/// Makes a plan and checks it against its input.
fn check(input: &Input, planes: &[u64], limits: &Limits) -> Result<Plan, String> {
    let plan = super::plan(input, planes, limits);
    let mut steps = simulate(&plan, planes, limits)?;
    let mut allowed = Steps::new();
    for work in &input.work {
        for element in 0..work.length + work.padding {
            let step = Step {
                grad: (work.grad.buffer, work.grad.start + element),
                moment: (work.window, work.moment + element),
                class: work.class,
            };
            let place = (work.param.buffer, work.param.start + element);
            if element < work.length {
                match steps.remove(&place) {
                    Some(found) if found == step => {}
                    found => return Err(format!("{place:?}: {found:?} instead of {step:?}")),
                }
            } else if input.classes[work.class as usize].padding_stays_zero {
                allowed.insert(place, step);
            }
        }
    }
    for (place, step) in steps {
        if allowed.get(&place) != Some(&step) {
            return Err(format!("{place:?} is stepped with {step:?}, and is no tensor's"));
        }
    }
    norms::check(&plan, input, limits)?;
    Ok(plan)
}

/// Counts the runs piece by piece: a run begins at each piece that follows no other piece.
fn fewest_runs(input: &Input) -> usize {
    let leads_to = |a: &Work, b: &Work| {
        let class = &input.classes[a.class as usize];
        let same =
            (a.class, a.window, a.param.buffer, a.grad.buffer) == (b.class, b.window, b.param.buffer, b.grad.buffer);
        let slack = if class.padding_stays_zero { a.padding } else { 0 };
        same && (0..=slack).any(|gap| {
            let gap = a.length + gap;
            (a.param.start + gap, a.grad.start + gap, a.moment + gap) == (b.param.start, b.grad.start, b.moment)
        })
    };
    let work = &input.work;
    work.iter().filter(|b| !work.iter().any(|a| a.tensor != b.tensor && leads_to(a, b))).count()
}

fn any_spec() -> impl Strategy<Value = Spec> {
    let follows = prop_oneof![
        Just(Follows::AtOnce),
        (1_u64..6).prop_map(Follows::After),
        Just(Follows::Aligned),
        Just(Follows::Aligned),
        Just(Follows::InLonger)
    ];
    let grad = prop_oneof![
        1 => Just(Grad::None),
        4 => Just(Grad::Alike),
        2 => Just(Grad::Interleaved),
        1 => Just(Grad::Packed),
        1 => Just(Grad::OfLonger),
        1 => Just(Grad::Own),
    ];
    let length = prop_oneof![
        6 => 1_u64..20,
        4 => prop::sample::select(vec![63_u64, 64, 65, 127, 255, 256, 257, 1023, 1024]),
        1 => 30_000_u64..40_000,
    ];
    let group = prop_oneof![3 => Just(0_u32), 1 => 1_u32..4];
    (0_u32..3, follows, length, group, prop::bool::weighted(0.2), grad)
        .prop_map(|(buffer, follows, length, group, late, grad)| Spec { buffer, follows, length, group, late, grad })
}

fn any_limits() -> impl Strategy<Value = Limits> {
    let binding = prop::sample::select(vec![1024_u64, 4096, 65_536, 1 << 27]);
    let alignment = prop::sample::select(vec![256_u64, 256, 512]);
    let workgroups = prop::sample::select(vec![1_u32, 7, 65_535]);
    let workgroup_size = prop::sample::select(vec![32_u32, 64, 256]);
    let sharing = prop::sample::select(vec![(0_u32, 1_u32), (2, 2), (1, 1)]);
    (binding, alignment, workgroups, workgroup_size, sharing).prop_map(
        |(binding, alignment, workgroups, workgroup_size, (long_quads_log2, tile_quads_log2))| {
            // A window needs two alignments of slack beside its elements.
            let binding = binding.max(4 * alignment);
            let sharing = Sharing { long_quads_log2, tile_quads_log2, ..LARGE.sharing };
            Limits { binding, alignment, workgroups, workgroup_size, sharing, ..LARGE }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_element_is_stepped_once(specs in prop::collection::vec(any_spec(), 1..24), limits in any_limits()) {
        let (input, planes) = input(&specs, &limits);
        if let Err(problem) = check(&input, &planes, &limits) {
            return Err(TestCaseError::fail(problem));
        }
        prop_assert_eq!(runs::merge(&input).len(), fewest_runs(&input));
    }
}

const LARGE: Limits = Limits {
    binding: 1 << 27,
    alignment: 256,
    workgroups: 65_535,
    workgroup_size: 256,
    sharing: Sharing { long_quads_log2: 0, tile_quads_log2: 1, neighbours: false, control_invocations: 256 },
    hyper_alignment: 8,
};

fn spec(length: u64, follows: Follows, grad: Grad) -> Spec {
    Spec { buffer: 0, follows, length, group: 0, late: false, grad }
}

#[test]
fn known_shapes_of_plans() {
    let arena = |length| spec(length, Follows::Aligned, Grad::Alike);
    let other_group = |length| Spec { group: 3, ..arena(length) };
    let own = |buffer, length| Spec { buffer, ..spec(length, Follows::AtOnce, Grad::Own) };
    let packed = |length| spec(length, Follows::AtOnce, Grad::Alike);
    let alternating: Vec<Spec> = (0..64).map(|number| Spec { late: number % 2 == 1, ..arena(1024) }).collect();
    // Name, tensors, dispatches, tile records.
    let cases: [(&str, Vec<Spec>, usize, usize); 10] = [
        ("a thousand tensors of an arena", vec![arena(1000); 1000], 1, 0),
        ("a large tensor alone", vec![arena(1 << 20)], 1, 0),
        ("two codes in one arena", vec![arena(100), other_group(100)], 2, 0),
        ("two step counts in one arena", alternating, 1, 64 * 4),
        ("tensors in buffers of their own", vec![own(0, 64), own(1, 64), own(2, 64)], 3, 0),
        ("three elements alone", vec![own(0, 3)], 1, 0),
        ("odd, short and alone", vec![own(0, 1023)], 1, 0),
        ("odd, long and alone", vec![own(0, (1 << 20) + 3)], 2, 0),
        ("odd and packed, one run", vec![packed(1023); 40], 1, 0),
        ("no gradient", vec![spec(8, Follows::AtOnce, Grad::None)], 0, 0),
    ];
    for (case, specs, dispatches, tiles) in cases {
        let (input, planes) = input(&specs, &LARGE);
        let plan = check(&input, &planes, &LARGE).unwrap_or_else(|problem| panic!("{case}: {problem}"));
        assert_eq!((plan.dispatches.len(), plan.tiles.len()), (dispatches, tiles), "{case}");
    }
}

#[test]
fn hyper_blocks_beyond_one_binding() {
    let work = |number: u32| Work {
        tensor: number,
        class: number,
        param: Place { buffer: 0, start: u64::from(number) * 64 },
        grad: Place { buffer: 1, start: u64::from(number) * 64 },
        window: 0,
        moment: u64::from(number) * 64,
        length: 64,
        padding: 0,
    };
    let class = |group| Class { group, code: Code::default(), padding_stays_zero: true };
    let input = Input { work: (0..1200).map(work).collect(), classes: (0..1200).map(class).collect() };
    let plan = check(&input, &[1200 * 64], &LARGE).unwrap();
    let first: Vec<u32> = plan.dispatches.iter().map(|dispatch| dispatch.first_hyper).collect();
    assert_eq!(first, [0, 512, 1024]);
}
