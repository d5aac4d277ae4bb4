//! Kernels: PTX that the driver compiles for the card, and launches of them by name.
//!
//! A family's PTX is loaded when one of its kernels is first launched.
//! A launch is checked before the driver sees it: the number and the sizes of the arguments against the kernel's
//! parameters, as the PTX declares them, and the grid, the block and the shared memory against the card's limits.

use std::{
    collections::HashMap,
    ffi::CString,
    ptr,
    sync::{Arc, Mutex},
};

use cudarc::driver::{
    DeviceRepr, result,
    sys::{self, CUfunction_attribute_enum as FunctionAttribute, CUjit_option as JitOption},
};

use crate::{
    context::{Context, lock},
    error::{Error, Result},
    memory::{Address, Buffer, Slice},
    ptx::Ptx,
};

/// The families of a device that are loaded.
pub(crate) struct Modules {
    context: Arc<Context>,
    loaded: Mutex<HashMap<&'static str, Module>>,
}

struct Module {
    handle: sys::CUmodule,
    context: Arc<Context>,
    kernels: HashMap<String, Kernel>,
}

struct Kernel {
    /// None until it is first launched.
    function: Option<sys::CUfunction>,
    /// The bytes of each parameter.
    parameters: Vec<usize>,
    /// Bytes of shared memory that the kernel declares itself.
    own_shared: u32,
    /// Dynamic shared memory that it may have without asking, or after the last asking.
    most_shared: u32,
}

#[expect(unsafe_code, reason = "a handle of the driver is a pointer")]
// SAFETY: handles of modules and functions may be used from any thread that has bound their context.
unsafe impl Send for Module {}
#[expect(unsafe_code, reason = "a handle of the driver is a pointer")]
// SAFETY: as above.
unsafe impl Send for Kernel {}

impl Drop for Module {
    fn drop(&mut self) {
        let cuda = &self.context.cuda;
        cuda.record_err(cuda.bind_to_thread());
        #[expect(unsafe_code, reason = "a call of the driver")]
        // SAFETY: the module was loaded in this context, and its functions are dropped with it.
        let done = unsafe { result::module::unload(self.handle) };
        cuda.record_err(done);
    }
}

/// A value that a launch passes to a kernel.
pub trait Argument {
    /// Adds it to the arguments.
    fn push(self, arguments: &mut Arguments);
}

/// The arguments of a launch, each aligned to 16 bytes.
#[derive(Debug, Default)]
pub struct Arguments {
    bytes: Vec<u128>,
    /// Where each begins, in units of 16 bytes, and its bytes.
    spans: Vec<(usize, usize)>,
}

impl Arguments {
    fn value<T: DeviceRepr + Copy>(&mut self, value: &T) {
        const { assert!(align_of::<T>() <= 16, "the alignment of a parameter is at most 16") };
        let (at, bytes) = (self.bytes.len(), size_of::<T>());
        self.bytes.resize(at + bytes.div_ceil(16), 0);
        #[expect(unsafe_code, reason = "copies a value's bytes")]
        // SAFETY: `T` is plain (`DeviceRepr`), and the space was made above.
        unsafe {
            ptr::copy_nonoverlapping(
                ptr::from_ref(value).cast::<u8>(),
                self.bytes.as_mut_ptr().add(at).cast::<u8>(),
                bytes,
            );
        }
        self.spans.push((at, bytes));
    }
}

macro_rules! plain {
    ($($type:ty),*) => {
        $(impl Argument for $type {
            fn push(self, arguments: &mut Arguments) {
                arguments.value(&self);
            }
        })*
    };
}

plain!(i32, u32, i64, u64, f32, f64, Address);

impl Argument for &Buffer {
    fn push(self, arguments: &mut Arguments) {
        arguments.value(&self.address());
    }
}

impl Argument for &mut Buffer {
    fn push(self, arguments: &mut Arguments) {
        arguments.value(&self.address());
    }
}

impl Argument for Slice<'_> {
    fn push(self, arguments: &mut Arguments) {
        arguments.value(&self.address());
    }
}

/// `None` is a null pointer.
impl<T: Argument> Argument for Option<T> {
    fn push(self, arguments: &mut Arguments) {
        match self {
            Some(it) => it.push(arguments),
            None => arguments.value(&Address::NULL),
        }
    }
}

/// A launch that is being prepared.
#[must_use = "a launch happens when it is run"]
pub struct Launch<'a> {
    modules: &'a Modules,
    ptx: &'static Ptx,
    kernel: &'a str,
    grid: [usize; 3],
    block: u32,
    shared: usize,
    bytes: u64,
    operations: u64,
    arguments: Arguments,
}

impl<'a> Launch<'a> {
    pub(crate) fn new(modules: &'a Modules, ptx: &'static Ptx, kernel: &'a str) -> Self {
        let arguments = Arguments::default();
        Self {
            modules,
            ptx,
            kernel,
            grid: [1; 3],
            block: 32,
            shared: 0,
            bytes: 0,
            operations: 0,
            arguments,
        }
    }
}

impl Launch<'_> {
    /// Blocks: x below 2^31, y and z below 65,536.
    pub fn grid(mut self, x: usize, y: usize, z: usize) -> Self {
        self.grid = [x, y, z];
        self
    }

    /// Threads of a block, at most 1024.
    pub fn block(mut self, threads: u32) -> Self {
        self.block = threads;
        self
    }

    /// Bytes of dynamic shared memory of a block. More than 48 KiB is asked for at the driver.
    pub fn shared(mut self, bytes: usize) -> Self {
        self.shared = bytes;
        self
    }

    /// The next argument: a number, a buffer (its address), a part of one, an address, or an option of these.
    pub fn arg(mut self, argument: impl Argument) -> Self {
        argument.push(&mut self.arguments);
        self
    }

    /// The next argument, a `#[repr(C)]` struct by value.
    pub fn value<T: DeviceRepr + Copy>(mut self, value: &T) -> Self {
        self.arguments.value(value);
        self
    }

    /// For the meter: the bytes that the launch must read and write at least, and the additions and multiplications.
    pub fn cost(mut self, bytes: usize, operations: usize) -> Self {
        (self.bytes, self.operations) = (bytes as u64, operations as u64);
        self
    }

    /// Launches the kernel on the device's stream, and returns before it has run.
    ///
    /// # Errors
    /// If the arguments or the limits do not fit, or if the driver fails. What goes wrong while the kernel runs is
    /// reported by a later call.
    ///
    /// # Safety
    /// The arguments are what the kernel expects: addresses of live buffers of this device that are as long as the
    /// kernel's formula says, and structs of the same layout. Buffers that it writes have no other user meanwhile.
    #[expect(unsafe_code, reason = "a launch reads and writes what its arguments point to")]
    pub unsafe fn run(self) -> Result<()> {
        let context = &*self.modules.context;
        context.bind("launching a kernel")?;
        let mut loaded = lock(&self.modules.loaded);
        let kernel = find(&mut loaded, &self.modules.context, self.ptx, self.kernel)?;
        self.check_arguments(kernel)?;
        let (grid, shared) = self.check_limits(kernel.own_shared)?;
        let function = kernel.prepare(context, self.kernel, shared)?;
        let base = self.arguments.bytes.as_ptr();
        let mut pointers: Vec<_> = self
            .arguments
            .spans
            .iter()
            .map(|(at, _)| base.wrapping_add(*at).cast_mut().cast())
            .collect();
        // SAFETY: the number and the sizes of the arguments were checked; for what they mean the caller vouches.
        let done = unsafe {
            result::launch_kernel(
                function,
                grid,
                (self.block, 1, 1),
                shared,
                context.stream.cu_stream(),
                &mut pointers,
            )
        };
        done.map_err(context.failed(&format!("kernel `{}`", self.kernel)))?;
        drop(loaded);
        let mut meter = context.meter();
        if !meter.kernels.contains_key(self.kernel) {
            meter.kernels.insert(self.kernel.to_owned(), Default::default());
        }
        if let Some(meter) = meter.kernels.get_mut(self.kernel) {
            meter.launches += 1;
            meter.bytes += self.bytes;
            meter.operations += self.operations;
        }
        Ok(())
    }

    fn check_arguments(&self, kernel: &Kernel) -> Result<()> {
        let given: Vec<usize> = self.arguments.spans.iter().map(|(_, bytes)| *bytes).collect();
        if given == kernel.parameters {
            return Ok(());
        }
        Err(Error::arguments(
            self.kernel,
            format!(
                "its parameters have {:?} bytes, and the arguments {given:?}",
                kernel.parameters
            ),
        ))
    }

    /// The grid and the dynamic shared memory, if they are within the limits.
    fn check_limits(&self, own_shared: u32) -> Result<((u32, u32, u32), u32)> {
        let [x, y, z] = self.grid;
        let fail = |what: String| Err(Error::arguments(self.kernel, what));
        if x == 0 || y == 0 || z == 0 || x > i32::MAX as usize || y > 65_535 || z > 65_535 {
            return fail(format!(
                "a grid of {x} x {y} x {z} blocks; the limits are 2^31 - 1, 65,535 and 65,535"
            ));
        }
        if self.block == 0 || self.block > 1024 {
            return fail(format!("a block of {} threads; the limit is 1024", self.block));
        }
        let most = self.modules.context.info.shared_per_block;
        if self.shared + own_shared as usize > most as usize {
            return fail(format!(
                "{} bytes of shared memory; the card has {most} for a block",
                self.shared
            ));
        }
        #[expect(clippy::cast_possible_truncation, reason = "checked above")]
        Ok(((x as u32, y as u32, z as u32), self.shared as u32))
    }
}

impl Kernel {
    /// The driver's function, allowed to have as much shared memory.
    fn prepare(&mut self, context: &Context, name: &str, shared: u32) -> Result<sys::CUfunction> {
        let Some(function) = self.function else {
            return Err(Error::arguments(name, "it is not loaded"));
        };
        if shared > self.most_shared {
            let attribute = FunctionAttribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            #[expect(unsafe_code, reason = "a call of the driver")]
            // SAFETY: the function belongs to a module that is loaded; the number is below the card's limit.
            let done = unsafe {
                result::function::set_function_attribute(function, attribute, shared.cast_signed())
            };
            done.map_err(
                context.failed(&format!("asking for {shared} bytes of shared memory for `{name}`")),
            )?;
            self.most_shared = shared;
        }
        Ok(function)
    }
}

impl Modules {
    pub(crate) fn new(context: &Arc<Context>) -> Arc<Self> {
        Arc::new(Self { context: Arc::clone(context), loaded: Mutex::default() })
    }
}

/// A kernel with its function; loads its family if it is the first of it.
fn find<'a>(
    loaded: &'a mut HashMap<&'static str, Module>,
    context: &Arc<Context>,
    ptx: &'static Ptx,
    name: &str,
) -> Result<&'a mut Kernel> {
    if !loaded.contains_key(ptx.name()) {
        loaded.insert(ptx.name(), Module::load(context, ptx)?);
    }
    let missing = || Error::arguments(name, format!("it is not in the PTX of `{}`", ptx.name()));
    let module = loaded.get_mut(ptx.name()).ok_or_else(missing)?;
    let kernel = module.kernels.get_mut(name).ok_or_else(missing)?;
    if kernel.function.is_none() {
        let c_name = CString::new(name).map_err(|_| missing())?;
        #[expect(unsafe_code, reason = "a call of the driver")]
        // SAFETY: the module is loaded.
        let function = unsafe { result::module::get_function(module.handle, c_name) };
        let function = function.map_err(context.failed(&format!("finding the kernel `{name}`")))?;
        let attribute = FunctionAttribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES;
        #[expect(unsafe_code, reason = "a call of the driver")]
        // SAFETY: the function was just found.
        let own = unsafe { result::function::get_function_attribute(function, attribute) };
        let own =
            own.map_err(context.failed(&format!("asking for the shared memory of `{name}`")))?;
        kernel.own_shared = own.cast_unsigned();
        kernel.most_shared = (48 * 1024_u32).saturating_sub(kernel.own_shared);
        kernel.function = Some(function);
    }
    Ok(kernel)
}

impl Module {
    fn load(context: &Arc<Context>, ptx: &'static Ptx) -> Result<Self> {
        let has_zero = |_| Error::arguments(ptx.name(), "its PTX has a zero byte");
        let ptx_text = ptx.text()?;
        let text = CString::new(ptx_text.as_str()).map_err(has_zero)?;
        let mut log = [0_u8; 4096];
        let mut handle = ptr::null_mut();
        let mut options =
            [JitOption::CU_JIT_ERROR_LOG_BUFFER, JitOption::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
        let mut values = [log.as_mut_ptr().cast(), ptr::without_provenance_mut(log.len())];
        #[expect(unsafe_code, reason = "a call of the driver")]
        // SAFETY: the text ends with a zero byte, and the driver copies it; the log has as many bytes as it is told.
        let done = unsafe {
            sys::cuModuleLoadDataEx(
                &raw mut handle,
                text.as_ptr().cast(),
                2,
                options.as_mut_ptr(),
                values.as_mut_ptr(),
            )
        };
        done.result().map_err(|err| {
            let log = log.split(|it| *it == 0).next().unwrap_or_default();
            let log = String::from_utf8_lossy(log);
            context.failed(&format!("loading the kernels of `{}` ({})", ptx.name(), log.trim()))(
                err,
            )
        })?;
        Ok(Self { handle, context: Arc::clone(context), kernels: kernels(&ptx_text) })
    }
}

/// The kernels of a PTX text with the bytes of their parameters.
///
/// nvcc writes `.visible .entry name(`, then a line for each parameter, such as `.param .u64 name_param_0,` or
/// `.param .align 8 .b8 name_param_1[40]`, then `)`.
fn kernels(text: &str) -> HashMap<String, Kernel> {
    let mut kernels = HashMap::new();
    for entry in text.split(".entry").skip(1) {
        let Some((name, rest)) = entry.split_once('(') else { continue };
        let Some((list, _)) = rest.split_once(')') else { continue };
        let parameters = list.split(".param").skip(1).map(bytes_of).collect();
        let kernel = Kernel { function: None, parameters, own_shared: 0, most_shared: 0 };
        kernels.insert(name.trim().to_owned(), kernel);
    }
    kernels
}

/// The bytes of a parameter, from its declaration.
fn bytes_of(declaration: &str) -> usize {
    let bytes = declaration
        .split_whitespace()
        .find_map(|word| match word {
            ".b8" | ".u8" | ".s8" => Some(1),
            ".b16" | ".u16" | ".s16" | ".f16" => Some(2),
            ".b32" | ".u32" | ".s32" | ".f32" => Some(4),
            ".b64" | ".u64" | ".s64" | ".f64" => Some(8),
            _ => None,
        })
        .unwrap_or(0);
    let count = declaration
        .split_once('[')
        .and_then(|(_, it)| it.split_once(']')?.0.trim().parse::<usize>().ok());
    bytes * count.unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_from_the_ptx() {
        let text = "
.visible .entry first(
\t.param .u64 .ptr .align 1 first_param_0,
\t.param .align 8 .b8 first_param_1[40],
\t.param .f32 first_param_2
)
.maxntid 128
{ ret; }
.visible .entry second()
{ ret; }";
        let kernels = kernels(text);
        assert_eq!(kernels["first"].parameters, [8, 40, 4]);
        assert!(kernels["second"].parameters.is_empty());
    }
}
