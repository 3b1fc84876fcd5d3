//! A Vulkan driver: it compiles a kernel as it would for wgpu, and says what came of it.
#![expect(unsafe_code, reason = "wgpu does not hand out what a driver says of a pipeline")]
use crate::error::Error;
use ash::{
    khr::pipeline_executable_properties as executables,
    vk::{self, PipelineCreateFlags as Flags},
};
use ddim::{
    gpu::{AdapterReport, GpuOptions, adapters},
    plan::{Dispatch, Target},
    wgpu::{self, hal},
};
use std::{
    collections::BTreeMap,
    ffi::{CStr, CString, c_char},
    ptr,
};

/// An open driver.
pub struct Driver {
    device: ash::Device,
    /// Keeps the device, if wgpu opened it.
    _open: Option<hal::OpenDevice<hal::api::Vulkan>>,
    /// Keeps what a device of our own is a part of.
    _instance: wgpu::Instance,
    executables: executables::Device,
    /// The adapter's name.
    pub adapter: String,
    /// The driver's name and version.
    pub version: String,
    /// The device as lowering sees it.
    pub target: Target,
}

/// What a driver says of a compiled kernel.
pub struct Pipeline {
    /// Its counts by the driver's own names.
    pub statistics: BTreeMap<String, u64>,
    /// Invocations of a subgroup.
    pub subgroup: u32,
    /// The last of the forms that the driver shows: instructions of the device, if it shows any.
    pub assembly: Option<String>,
}

impl Driver {
    /// The first adapter that the Vulkan loader finds: its device as wgpu opens it, or, if not `robust`, one of the same
    /// features but for robust buffer access, which wgpu does not leave out.
    ///
    /// # Errors
    /// If there is none, or it gives no device.
    pub fn open(robust: bool) -> Result<Self, Error> {
        let backends = wgpu::Backends::VULKAN;
        let options = GpuOptions { backends: Some(backends), ..GpuOptions::default() };
        let AdapterReport { target, features, limits, info, .. } =
            pollster::block_on(adapters(&options)).into_iter().next().ok_or(Error::NoAdapter)?;
        let mut instance = wgpu::InstanceDescriptor::new_without_display_handle();
        instance.backends = backends;
        let instance = wgpu::Instance::new(instance);
        let found = pollster::block_on(instance.enumerate_adapters(backends));
        let adapter = found.into_iter().next().ok_or(Error::NoAdapter)?;
        // SAFETY: the adapter is only opened.
        let adapter = unsafe { adapter.as_hal::<hal::api::Vulkan>() }.ok_or(Error::NoAdapter)?;
        let version = format!("{} {}", info.driver, info.driver_info);
        let (device, open) = if robust {
            let open = as_wgpu(&adapter, features, &limits)?;
            (open.device.raw_device().clone(), Some(open))
        } else {
            (without_robustness(&adapter)?, None)
        };
        let raw = adapter.shared_instance().raw_instance();
        let executables = executables::Device::new(raw, &device);
        Ok(Self {
            device,
            _open: open,
            _instance: instance,
            executables,
            adapter: info.name,
            version,
            target,
        })
    }

    /// Compiles SPIR-V for what `dispatch` binds.
    ///
    /// # Errors
    /// If the driver refuses it.
    pub fn compile(&self, dispatch: &Dispatch, code: &[u32]) -> Result<Pipeline, Error> {
        let device = &self.device;
        let slot = |binding, kind| {
            vk::DescriptorSetLayoutBinding::default()
                .binding(binding)
                .descriptor_type(kind)
                .descriptor_count(1)
                .stage_flags(vk::ShaderStageFlags::COMPUTE)
        };
        let uniform = slot(0, vk::DescriptorType::UNIFORM_BUFFER);
        let storage = |number| slot(number, vk::DescriptorType::STORAGE_BUFFER);
        let mut slots: Vec<_> = dispatch.bindings.iter().map(|b| storage(b.binding)).collect();
        if !dispatch.params.is_empty() {
            slots.push(uniform);
        }
        let entry = CString::new(&*dispatch.kernel.entry)?;
        // SAFETY: all handles are this device's and are used before they are destroyed; naga wrote
        // the code, and the slots are those that it declares.
        unsafe {
            let set = vk::DescriptorSetLayoutCreateInfo::default().bindings(&slots);
            let set = device.create_descriptor_set_layout(&set, None)?;
            let sets = [set];
            let layout = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets);
            let layout = device.create_pipeline_layout(&layout, None)?;
            let module = vk::ShaderModuleCreateInfo::default().code(code);
            let module = device.create_shader_module(&module, None)?;
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .stage(vk::ShaderStageFlags::COMPUTE)
                .flags(vk::PipelineShaderStageCreateFlags::ALLOW_VARYING_SUBGROUP_SIZE)
                .module(module)
                .name(&entry);
            let capture =
                Flags::CAPTURE_STATISTICS_KHR | Flags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR;
            let create = vk::ComputePipelineCreateInfo::default().flags(capture).stage(stage);
            let create = [create.layout(layout)];
            let pipelines =
                device.create_compute_pipelines(vk::PipelineCache::null(), &create, None);
            let pipeline = pipelines.map_err(|(_, error)| error)?[0];
            let found = self.read(pipeline);
            device.destroy_pipeline(pipeline, None);
            device.destroy_shader_module(module, None);
            device.destroy_pipeline_layout(layout, None);
            device.destroy_descriptor_set_layout(set, None);
            found
        }
    }

    /// What the driver says of a pipeline.
    ///
    /// # Safety
    /// The pipeline is this device's.
    unsafe fn read(&self, pipeline: vk::Pipeline) -> Result<Pipeline, Error> {
        let whole = vk::PipelineInfoKHR::default().pipeline(pipeline);
        let part = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline);
        // SAFETY: the pipeline is alive; it was made with the flags that these functions need.
        let (properties, statistics) = unsafe {
            let properties = self.executables.get_pipeline_executable_properties(&whole)?;
            (properties, self.executables.get_pipeline_executable_statistics(&part)?)
        };
        let subgroup = properties.first().map_or(0, |properties| properties.subgroup_size);
        let number = |statistic: &vk::PipelineExecutableStatisticKHR| {
            // SAFETY: a float is as long as the integer, and any bits are one.
            let bits = unsafe { statistic.value.u64 };
            match statistic.format {
                vk::PipelineExecutableStatisticFormatKHR::FLOAT64 => f64::from_bits(bits) as u64,
                vk::PipelineExecutableStatisticFormatKHR::BOOL32 => bits & 0xffff_ffff,
                _ => bits,
            }
        };
        let statistics = statistics.iter().map(|s| (text(&s.name), number(s))).collect();
        // SAFETY: as above.
        let assembly = unsafe { self.assembly(&part)? };
        Ok(Pipeline { statistics, subgroup, assembly })
    }

    /// The last form of a kernel that the driver shows. ash has no wrapper, for the caller makes
    /// room for the texts.
    ///
    /// # Safety
    /// The pipeline is this device's.
    unsafe fn assembly(
        &self,
        part: &vk::PipelineExecutableInfoKHR<'_>,
    ) -> Result<Option<String>, Error> {
        let get = self.executables.fp().get_pipeline_executable_internal_representations_khr;
        let device = self.device.handle();
        let mut count = 0;
        // SAFETY: the first call only counts, the second says how long each text is, the third
        // fills memory of that length.
        unsafe {
            get(device, part, &mut count, ptr::null_mut()).result()?;
            let mut forms =
                vec![vk::PipelineExecutableInternalRepresentationKHR::default(); count as usize];
            get(device, part, &mut count, forms.as_mut_ptr()).result()?;
            let mut texts: Vec<Vec<u8>> =
                forms.iter().map(|form| vec![0; form.data_size]).collect();
            for (form, text) in forms.iter_mut().zip(&mut texts) {
                form.p_data = text.as_mut_ptr().cast();
            }
            get(device, part, &mut count, forms.as_mut_ptr()).result()?;
            Ok(texts.last().map(|text| String::from_utf8_lossy(text).into_owned()))
        }
    }
}

/// The device as wgpu opens it, with what kernels use, and with an extension that says what became of a pipeline.
fn as_wgpu(
    adapter: &hal::vulkan::Adapter,
    features: wgpu::Features,
    limits: &wgpu::Limits,
) -> Result<hal::OpenDevice<hal::api::Vulkan>, Error> {
    let used = wgpu::Features::SHADER_F16 | wgpu::Features::SHADER_INT64 | wgpu::Features::SUBGROUP;
    let mut shown = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default()
        .pipeline_executable_info(true);
    // SAFETY: the features are the adapter's; the callback adds an extension, and its feature,
    // that each of these drivers has: if one had not, it would refuse the device.
    let open = unsafe {
        adapter.open_with_callback(
            features & used,
            limits,
            &wgpu::MemoryHints::MemoryUsage,
            Some(Box::new(|args| {
                args.extensions.push(executables::NAME);
                *args.create_info = args.create_info.push_next(&mut shown);
            })),
        )
    };
    Ok(open?)
}

/// A device with every feature of Vulkan 1.3 that the driver has, but for robust access.
fn without_robustness(adapter: &hal::vulkan::Adapter) -> Result<ash::Device, Error> {
    let instance = adapter.shared_instance().raw_instance();
    let physical = adapter.raw_physical_device();
    let mut shown = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default()
        .pipeline_executable_info(true);
    let mut second = vk::PhysicalDeviceVulkan12Features::default();
    let mut third = vk::PhysicalDeviceVulkan13Features::default();
    let mut first = vk::PhysicalDeviceVulkan11Features::default();
    let mut features = vk::PhysicalDeviceFeatures2::default()
        .push_next(&mut first)
        .push_next(&mut second)
        .push_next(&mut third);
    // SAFETY: the physical device is the instance's.
    unsafe { instance.get_physical_device_features2(physical, &mut features) };
    let core = features.features.robust_buffer_access(false);
    third.robust_image_access = vk::FALSE;
    // They are still linked as they were asked for.
    (first.p_next, second.p_next, third.p_next) =
        (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
    let mut features = vk::PhysicalDeviceFeatures2::default()
        .features(core)
        .push_next(&mut first)
        .push_next(&mut second)
        .push_next(&mut third)
        .push_next(&mut shown);
    let queue = vk::DeviceQueueCreateInfo::default().queue_priorities(&[1.0]);
    let (queues, extensions) = ([queue], [executables::NAME.as_ptr()]);
    let create = vk::DeviceCreateInfo::default()
        .queue_create_infos(&queues)
        .enabled_extension_names(&extensions)
        .push_next(&mut features);
    // SAFETY: the features are those that the driver has; the program ends before the device does.
    Ok(unsafe { instance.create_device(physical, &create, None) }?)
}

/// Text of a fixed length that ends with a zero.
fn text(name: &[c_char]) -> String {
    let bytes: Vec<u8> = name.iter().map(|&letter| letter as u8).collect();
    CStr::from_bytes_until_nul(&bytes).unwrap_or_default().to_string_lossy().into_owned()
}
