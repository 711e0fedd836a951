//! How a network is computed: its arithmetic, and what computes it.

use serde::{Deserialize, Serialize};

/// Arithmetic of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// The faster on this machine.
    Auto,
    /// 32-bit floating point.
    Fp32,
    /// 8-bit integers.
    Int8,
}

/// Where ONNX Runtime computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// The fastest that the runtime has.
    Auto,
    /// The processor.
    Cpu,
    /// Intel OpenVINO.
    Openvino,
    /// XNNPACK.
    Xnnpack,
    /// NVIDIA CUDA.
    Cuda,
    /// NVIDIA TensorRT.
    Tensorrt,
}

impl Precision {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Fp32, Self::Int8];

    /// The one of that name in settings.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|precision| precision.name() == name)
    }

    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Fp32 => "fp32",
            Self::Int8 => "int8",
        }
    }
}

impl Provider {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Auto, Self::Cpu, Self::Openvino, Self::Xnnpack, Self::Cuda, Self::Tensorrt];

    /// The one of that name in settings.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.name() == name)
    }

    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Openvino => "openvino",
            Self::Xnnpack => "xnnpack",
            Self::Cuda => "cuda",
            Self::Tensorrt => "tensorrt",
        }
    }

    /// Whether it takes the quantised files.
    pub fn runs_int8(self) -> bool {
        matches!(self, Self::Cpu | Self::Openvino)
    }
}
