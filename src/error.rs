//! What can go wrong, each with the remedy in its message.

#[cfg(feature = "safetensors")]
pub(crate) mod checkpoint;
mod list;
pub(crate) mod state_dict;
pub(crate) mod tensor;

use tensor::TensorLabel;

/// A mistake or a limit, found before anything reaches the GPU unless its variant says otherwise.
///
/// The optimizer is unchanged by a call that returns an error and can be used after it. Tensors are named as
/// `parameter "layer0.weight"` or `gradient of "layer0.weight"`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A hyperparameter out of its range. Stricter than torch, which checks only the constructor's own arguments and
    /// lets infinities and numbers that f32 cannot hold pass.
    #[error("invalid {option}{}: {value:?}; it must be {requirement}", list::of_group(*.group))]
    InvalidOption {
        /// The option, in torch's word.
        option: &'static str,
        /// The group it was meant for; none for the constructor's defaults.
        group: Option<usize>,
        /// The value refused.
        value: f64,
        /// What is allowed.
        requirement: &'static str,
    },

    /// A group number that does not exist.
    #[error("no parameter group {group}: there are {count}, numbered from 0")]
    NoSuchGroup {
        /// The number asked for.
        group: usize,
        /// How many there are.
        count: usize,
    },

    /// A [`ParamId`](crate::ParamId) that another optimizer gave out, or of a parameter that was removed.
    #[error(
        "this parameter id belongs to another optimizer or to a removed parameter; take ids from this optimizer's \
         find or param_groups"
    )]
    NoSuchParam,

    /// A name that the arena does not have.
    #[error("the arena has no tensor \"{name}\"{}", list::nearest(.nearest))]
    NoSuchTensor {
        /// The name asked for.
        name: String,
        /// The names that are most like it, the nearest first.
        nearest: Vec<String>,
    },

    /// Two parameters, or two tensors of an arena, of one name.
    #[error("two tensors are called \"{name}\"; names tell them apart in errors and state dicts")]
    DuplicateName {
        /// The name.
        name: String,
    },

    /// Some parameters of an optimizer have names and others have none.
    #[error("{named} has a name and {unnamed} has none; name all parameters of an optimizer or none")]
    MixedNames {
        /// A parameter with a name.
        named: TensorLabel,
        /// A parameter without.
        unnamed: TensorLabel,
    },

    /// Two tensors share memory of which at least one would be written: a parameter given twice, or to two groups, or
    /// ranges that overlap. WebGPU implementations do not all find this.
    #[error(
        "{first} and {second} overlap in one buffer, by {bytes} bytes from byte {offset}; give each a range of its own (an \
         arena's padding belongs to its tensors)"
    )]
    Overlap {
        /// The one that was there first.
        first: TensorLabel,
        /// The one that was added.
        second: TensorLabel,
        /// Where the overlap begins, in bytes from the start of the buffer.
        offset: u64,
        /// Its length in bytes.
        bytes: u64,
    },

    /// A buffer that ends before the tensor does.
    #[error(
        "{tensor} has {elements} f32 elements from byte {offset} and needs {} bytes, but its buffer has {size}",
        .offset.saturating_add(.elements.saturating_mul(4))
    )]
    BufferTooSmall {
        /// The tensor.
        tensor: TensorLabel,
        /// Its length in elements.
        elements: u64,
        /// Where it begins in the buffer, in bytes.
        offset: u64,
        /// The size of the buffer in bytes.
        size: u64,
    },

    /// A buffer that was not created for this use.
    #[error("the buffer of {tensor} lacks the usage {missing:?}; create it with {:?}", *.usage | *.missing)]
    BufferUsage {
        /// The tensor.
        tensor: TensorLabel,
        /// What it lacks.
        missing: wgpu::BufferUsages,
        /// What it has.
        usage: wgpu::BufferUsages,
    },

    /// An offset that is no multiple of the four bytes of an f32.
    #[error("{tensor} begins at byte {offset} of its buffer; the offset must be a multiple of 4")]
    UnalignedOffset {
        /// The tensor.
        tensor: TensorLabel,
        /// Its offset in bytes.
        offset: u64,
    },

    /// A shape of more elements than can be counted.
    #[error("{tensor} has the shape {shape:?}, which is too large")]
    ShapeTooLarge {
        /// The tensor.
        tensor: TensorLabel,
        /// Its shape.
        shape: Vec<usize>,
    },

    /// A range of elements that a tensor does not have.
    #[error("{tensor} has no elements {start} to {end}{}", list::out_of(*.length))]
    SliceOutOfRange {
        /// The tensor.
        tensor: TensorLabel,
        /// The first element asked for.
        start: u64,
        /// The one behind the last.
        end: u64,
        /// How many elements there are, if that is known.
        length: Option<u64>,
    },

    /// Data of another length than the tensor's.
    #[error("{tensor} has {}, but {got} were given", list::count(*.expected, "element"))]
    WrongLength {
        /// The tensor.
        tensor: TensorLabel,
        /// Its length in elements.
        expected: u64,
        /// The length given.
        got: u64,
    },

    /// A parameter and its gradient lie in one buffer, further apart than one binding reaches.
    #[error(
        "{tensor} and its gradient lie in one buffer, and a binding of both takes {bytes} bytes, where the device allows \
         {allowed}; put gradients in a buffer of their own, or request max_storage_buffer_binding_size >= {bytes}"
    )]
    GradientTooFar {
        /// The parameter.
        tensor: TensorLabel,
        /// The bytes from the start of the first to the end of the second.
        bytes: u64,
        /// The device's `max_storage_buffer_binding_size`.
        allowed: u64,
    },

    /// The device was opened with limits that are too small.
    #[error(
        "{what} needs {limit} >= {needed}, but the device allows {allowed}; request it in request_device, {remedy}"
    )]
    DeviceLimit {
        /// What needs it.
        what: String,
        /// The field of [`wgpu::Limits`].
        limit: &'static str,
        /// What is needed.
        needed: u64,
        /// What the device was opened with.
        allowed: u64,
        /// What else helps.
        remedy: &'static str,
    },

    /// amsgrad was switched on for a group whose parameters have taken steps without it: the maximum of a past that was
    /// not recorded. torch fails at the next step instead.
    #[error(
        "amsgrad cannot be switched on in group {group}: {tensor} has taken {} without recording \
         max_exp_avg_sq; switch it on before the first step, or add the group with it",
        list::count(*.steps, "step")
    )]
    AmsgradWithoutHistory {
        /// The group.
        group: usize,
        /// The first such parameter.
        tensor: TensorLabel,
        /// Its step count.
        steps: u64,
    },

    /// A parameter was given twice to be replaced.
    #[error("{tensor} is to be replaced twice in one call; give each parameter once")]
    ReplacedTwice {
        /// The parameter.
        tensor: TensorLabel,
    },

    /// Moments were given for a parameter whose group uses amsgrad, and max_exp_avg_sq was not among them.
    #[error("{tensor} has a max_exp_avg_sq, and the moments given for it have none; give it too")]
    MissingMoments {
        /// The parameter.
        tensor: TensorLabel,
    },

    /// Steps were recorded into encoders that were not submitted when the state was copied: the step counts know of them
    /// and the moments do not.
    #[error(
        "{} not submitted yet when the state was copied; submit the encoders before state_dict",
        list::were(*.steps as u64, "recorded step")
    )]
    UnsubmittedSteps {
        /// How many.
        steps: usize,
    },

    /// The state, larger than the staging size, is being copied to the host; what would change it has to wait.
    #[error(
        "the state is being copied by state_dict or save_checkpoint, whose future is not done: await it first, or raise \
         the staging size above the size of the state"
    )]
    StateBeingCopied,

    /// A checkpoint that is not whole, or cannot be read or written.
    #[cfg(feature = "safetensors")]
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::CheckpointError),

    /// A state dict that does not fit the optimizer.
    #[error(transparent)]
    StateDict(#[from] state_dict::StateDictError),

    /// State that infinite or NaN gradients have spoiled: NaN in a moment, or an infinite `exp_avg`, of which every further
    /// step makes NaN. It is neither saved nor loaded unless that is asked for; torch does both without a word. An infinite
    /// `exp_avg_sq` or `max_exp_avg_sq` beside a finite `exp_avg` is legal: there the parameter rests, as in torch.
    #[error(
        "{key} of {tensor} is spoiled: {count} of its {} {}, the first of them element {element}: {value}; {remedy}",
        list::count(*.elements, "element"),
        if *.key == "exp_avg" { "are NaN or infinite" } else { "are NaN" }
    )]
    SpoiledState {
        /// The parameter.
        tensor: TensorLabel,
        /// exp_avg, exp_avg_sq or max_exp_avg_sq: the first of the parameter's moments that is spoiled.
        key: &'static str,
        /// How many of its elements are.
        count: u64,
        /// How many it has.
        elements: u64,
        /// The first spoiled one.
        element: u64,
        /// Its value.
        value: f32,
        /// What can be done.
        remedy: &'static str,
    },

    /// Statistics were asked for, and no step was recorded that makes them.
    #[error(
        "no step was recorded with gradients clipped by norm or steps that may be skipped; set a GradientControl first"
    )]
    NoStatistics,

    /// The device is out of memory. What was being made is dropped.
    #[error("out of memory while creating {what}")]
    OutOfMemory {
        /// What was being made.
        what: String,
    },

    /// The device is lost: its driver crashed or was updated, the machine slept, its memory ran out, or it was destroyed. In a
    /// browser, where nothing says so, it may be [`Device`](Self::Device) instead.
    #[error(
        "the device is lost, as {what} has shown; open a new device, make the buffers and the optimizer anew on it, and load \
         the last state dict or checkpoint"
    )]
    DeviceLost {
        /// What was being made when it was noticed.
        what: String,
    },

    /// wgpu refused what this crate had checked: a buffer was destroyed or is another device's.
    #[error("wgpu refused {what}: {message}")]
    Device {
        /// What was being made.
        what: String,
        /// wgpu's message.
        message: String,
    },
}
