//! What can go wrong. Each message also says what helps.

#[cfg(feature = "safetensors")]
pub(crate) mod checkpoint;
mod list;
pub(crate) mod state_dict;
pub(crate) mod tensor;

use tensor::TensorLabel;

/// A mistake or a limit, detected before anything reaches the GPU unless the variant says otherwise.
///
/// A call that returns an error leaves the optimizer unchanged and usable. Messages name tensors as `parameter
/// "layer0.weight"` or `gradient of "layer0.weight"`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A hyperparameter is out of its range. torch checks only the constructor's arguments, and accepts infinities.
    #[error("invalid {option}{}: {}; it must be {requirement}", list::of_group(*.group), list::number(*.value))]
    InvalidOption {
        /// The option, by torch's name.
        option: &'static str,
        /// The group that it was for; `None` for the constructor's defaults.
        group: Option<usize>,
        /// The refused value.
        value: f64,
        /// The allowed range.
        requirement: &'static str,
    },

    /// There is no group of this number.
    #[error("no parameter group {group}: there are {count}, numbered from 0")]
    NoSuchGroup {
        /// The requested number.
        group: usize,
        /// The number of groups.
        count: usize,
    },

    /// The [`ParamId`](crate::ParamId) is of another optimizer, or of a parameter that was removed.
    #[error(
        "this parameter id belongs to another optimizer or to a removed parameter; take ids from this optimizer's \
         find or param_groups"
    )]
    NoSuchParam,

    /// The arena has no tensor of this name.
    #[error("the arena has no tensor \"{name}\"{}", list::nearest(.nearest))]
    NoSuchTensor {
        /// The requested name.
        name: String,
        /// The names that are most like it, the nearest first.
        nearest: Vec<String>,
    },

    /// Two parameters, or two tensors of an arena, have the same name.
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

    /// Two tensors share memory, and a step would write at least one of them: a parameter was given twice, or to two
    /// groups, or ranges overlap. Not all WebGPU implementations detect this.
    #[error(
        "{first} and {second} overlap in one buffer, by {bytes} bytes from byte {offset}; give each a range of its own (an \
         arena's padding belongs to its tensors)"
    )]
    Overlap {
        /// The tensor that was there first.
        first: TensorLabel,
        /// The tensor that was added.
        second: TensorLabel,
        /// Where the overlap begins, in bytes from the start of the buffer.
        offset: u64,
        /// Its length in bytes.
        bytes: u64,
    },

    /// The buffer ends before the tensor does.
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

    /// The buffer was not created for this use.
    #[error("the buffer of {tensor} lacks the usage {missing:?}; create it with {:?}", *.usage | *.missing)]
    BufferUsage {
        /// The tensor.
        tensor: TensorLabel,
        /// The usages that the buffer lacks.
        missing: wgpu::BufferUsages,
        /// The usages that the buffer has.
        usage: wgpu::BufferUsages,
    },

    /// The offset is not a multiple of 4, the bytes of an f32.
    #[error("{tensor} begins at byte {offset} of its buffer; the offset must be a multiple of 4")]
    UnalignedOffset {
        /// The tensor.
        tensor: TensorLabel,
        /// Its offset in bytes.
        offset: u64,
    },

    /// The shape has more elements than can be counted.
    #[error("{tensor} has the shape {shape:?}, which is too large")]
    ShapeTooLarge {
        /// The tensor.
        tensor: TensorLabel,
        /// Its shape.
        shape: Vec<usize>,
    },

    /// The tensor does not have all elements of a range.
    #[error("{tensor} has no elements {start} to {end}{}", list::out_of(*.length))]
    SliceOutOfRange {
        /// The tensor.
        tensor: TensorLabel,
        /// The first requested element.
        start: u64,
        /// The element after the last requested one.
        end: u64,
        /// The number of elements, if it is known.
        length: Option<u64>,
    },

    /// The data's length is not the tensor's.
    #[error("{tensor} has {}, but {got} were given", list::count(*.expected, "element"))]
    WrongLength {
        /// The tensor.
        tensor: TensorLabel,
        /// Its length in elements.
        expected: u64,
        /// The data's length in elements.
        got: u64,
    },

    /// A parameter and its gradient lie in one buffer, further apart than one binding can reach.
    #[error(
        "{tensor} and its gradient lie in one buffer, and a binding of both takes {bytes} bytes, where the device allows \
         {allowed}; put gradients in a buffer of their own, or request max_storage_buffer_binding_size >= {bytes}"
    )]
    GradientTooFar {
        /// The parameter.
        tensor: TensorLabel,
        /// The size in bytes of a binding that reaches both.
        bytes: u64,
        /// The device's `max_storage_buffer_binding_size`.
        allowed: u64,
    },

    /// The device was opened with too small limits.
    #[error(
        "{what} needs {limit} >= {needed}, but the device allows {allowed}; request it in request_device, {remedy}"
    )]
    DeviceLimit {
        /// What needs it.
        what: String,
        /// The field of [`wgpu::Limits`].
        limit: &'static str,
        /// The needed value.
        needed: u64,
        /// The value that the device was opened with.
        allowed: u64,
        /// What else helps.
        remedy: &'static str,
    },

    /// amsgrad was switched on in a group that has taken steps without it. torch fails at the next step instead.
    #[error(
        "amsgrad cannot be switched on in group {group}: {tensor} has taken {} without recording \
         max_exp_avg_sq; switch it on before the first step, or add the group with it", list::count(*.steps, "step")
    )]
    AmsgradWithoutHistory {
        /// The group.
        group: usize,
        /// The first such parameter.
        tensor: TensorLabel,
        /// Its step count.
        steps: u64,
    },

    /// A parameter was given twice in one call that replaces parameters.
    #[error("{tensor} is to be replaced twice in one call; give each parameter once")]
    ReplacedTwice {
        /// The parameter.
        tensor: TensorLabel,
    },

    /// The moments given for a parameter lack the max_exp_avg_sq that its state has.
    #[error("{tensor} has a max_exp_avg_sq, and the moments given for it have none; give it too")]
    MissingMoments {
        /// The parameter.
        tensor: TensorLabel,
    },

    /// Recorded steps were not submitted when the state was copied. The step counts include these steps, but the
    /// moments do not.
    #[error(
        "{} not submitted yet when the state was copied; submit the encoders before state_dict",
        list::were(*.steps as u64, "recorded step")
    )]
    UnsubmittedSteps {
        /// The number of these steps.
        steps: usize,
    },

    /// A state larger than the staging size is being copied to the host. Changes of the state have to wait.
    #[error(
        "the state is being copied by state_dict or save_checkpoint, whose future is not done: await it first, or raise \
         the staging size above the size of the state"
    )]
    StateBeingCopied,

    /// A checkpoint is not whole, or cannot be read or written.
    #[cfg(feature = "safetensors")]
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::CheckpointError),

    /// A state dict does not fit the optimizer.
    #[error(transparent)]
    StateDict(#[from] state_dict::StateDictError),

    /// Infinite or NaN gradients have spoiled state: a moment is NaN, or `exp_avg` is infinite, which every further
    /// step turns into NaN. Such state is saved and loaded only if the caller asks for it; torch does both silently. An
    /// infinite `exp_avg_sq` or `max_exp_avg_sq` beside a finite `exp_avg` is legal: the element rests, as in torch.
    #[error(
        "{key} of {tensor} is spoiled: {count} of its {} {}, the first of them element {element}: {value}; {remedy}",
        list::count(*.elements, "element"), if *.key == "exp_avg" { "are NaN or infinite" } else { "are NaN" }
    )]
    SpoiledState {
        /// The parameter.
        tensor: TensorLabel,
        /// exp_avg, exp_avg_sq or max_exp_avg_sq: the first moment of the parameter that is spoiled.
        key: &'static str,
        /// The number of spoiled elements in it.
        count: u64,
        /// The number of its elements.
        elements: u64,
        /// The first spoiled element.
        element: u64,
        /// Its value.
        value: f32,
        /// What can be done.
        remedy: &'static str,
    },

    /// Statistics were requested, but no recorded step makes any.
    #[error(
        "no step was recorded that measures gradients or may be skipped; set measure_norm in a GradientControl first"
    )]
    NoStatistics,

    /// The device is out of memory. What was being created is dropped.
    #[error("out of memory while creating {what}")]
    OutOfMemory {
        /// What was being created.
        what: String,
    },

    /// The device is lost: its driver crashed or was updated, the machine slept, memory ran out, or the device was
    /// destroyed. A browser does not report the reason, so there it may be [`Device`](Self::Device) instead.
    #[error(
        "the device is lost, as {what} has shown; open a new device, make the buffers and the optimizer anew on it, and load \
         the last state dict or checkpoint"
    )]
    DeviceLost {
        /// What was being created when the loss was noticed.
        what: String,
    },

    /// wgpu refused something that this crate had checked: a buffer was destroyed, or belongs to another device.
    #[error("wgpu refused {what}: {message}")]
    Device {
        /// What was being created.
        what: String,
        /// wgpu's message.
        message: String,
    },
}
