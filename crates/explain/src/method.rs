//! The methods.

use std::{fmt, str::FromStr};

use base::hint;

/// How the importance of a part of an image is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// Grad-CAM (Selvaraju et al., 2017): the feature maps of a stage, each weighted by its mean gradient.
    #[default]
    GradCam,
    /// Grad-CAM++ (Chattopadhay et al., 2018): each place of a gradient has its own weight.
    GradCamPlusPlus,
    /// Occlusion (Zeiler & Fergus, 2014): how far the score falls where a grey square covers the image. It needs
    /// no gradients and no stage, and takes about a hundred forward passes.
    Occlusion,
}

impl Method {
    /// All methods.
    pub const ALL: [Method; 3] = [Method::GradCam, Method::GradCamPlusPlus, Method::Occlusion];

    /// The name, in snake case.
    pub fn name(self) -> &'static str {
        match self {
            Method::GradCam => "grad_cam",
            Method::GradCamPlusPlus => "grad_cam_plus_plus",
            Method::Occlusion => "occlusion",
        }
    }

    /// Whether the map is that of a stage of the network.
    pub fn needs_stage(self) -> bool {
        self != Method::Occlusion
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(name: &str) -> Result<Method, String> {
        Method::ALL.into_iter().find(|it| it.name() == name).ok_or_else(|| {
            format!("`{name}` is not a method: {}", hint(name, &Method::ALL.map(Method::name)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Method;

    #[test]
    fn a_method_is_parsed_from_its_name() {
        for it in Method::ALL {
            assert_eq!(it.name().parse(), Ok(it));
        }
        let err = "gradcam".parse::<Method>().unwrap_err();
        assert_eq!(err, "`gradcam` is not a method: did you mean `grad_cam`?");
        let err = "lime".parse::<Method>().unwrap_err();
        assert_eq!(
            err,
            "`lime` is not a method: expected one of: grad_cam, grad_cam_plus_plus, occlusion"
        );
    }
}
