// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Looks at a kernel image before QEMU does: QEMU says little about a bad one, and a truncated one just hangs.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A bzImage that was looked at. Offsets are those of the x86 boot protocol's setup header.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The file.
    pub path: PathBuf,
    /// Its release, as `uname -r` will say, where the header names it.
    pub release: Option<String>,
}

impl Kernel {
    /// Checks that `path` is a whole bzImage.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::BadKernel`] when it is something else or was cut off.
    pub fn open(path: &Path) -> Result<Self> {
        let image = fs::read(path).map_err(Error::io(path))?;
        let bad = |reason: String| Error::BadKernel { path: path.to_owned(), reason };
        let release = inspect(&image).map_err(bad)?;
        Ok(Self { path: path.to_owned(), release })
    }
}

fn inspect(image: &[u8]) -> Result<Option<String>, String> {
    let byte = |offset: usize| image.get(offset).copied();
    let word = |offset: usize| Some(u16::from_le_bytes([byte(offset)?, byte(offset + 1)?]));
    if image.get(0x202..0x206) != Some(b"HdrS") || word(0x1fe) != Some(0xaa55) {
        return Err("not an x86 bzImage".into());
    }
    if byte(0x211).is_none_or(|load_flags| load_flags & 1 == 0) {
        return Err("a zImage, not a bzImage".into());
    }
    // setup_sects sectors after the boot sector (0 means 4), then syssize units of 16 bytes.
    let setup_sectors = match byte(0x1f1) {
        Some(0) | None => 4,
        Some(sectors) => usize::from(sectors),
    };
    let system = (0x1f4..0x1f8).rev().fold(0, |size, offset| size << 8 | usize::from(byte(offset).unwrap_or(0)));
    let whole = (setup_sectors + 1) * 512 + system * 16;
    if image.len() < whole {
        return Err(format!("truncated: {} of {whole} bytes", image.len()));
    }
    // kernel_version points to "RELEASE (builder) #n date", relative to 0x200.
    let release = word(0x20e).filter(|&pointer| pointer != 0).and_then(|pointer| {
        let text = image.get(usize::from(pointer) + 0x200..)?;
        let text: Vec<u8> = text.iter().copied().take_while(|&byte| byte != 0 && byte != b' ').take(128).collect();
        String::from_utf8(text).ok().filter(|text| !text.is_empty())
    });
    Ok(release)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Vec<u8> {
        let mut image = vec![0; 512 * 2 + 64];
        image[0x1f1] = 1;
        image[0x1f4] = 4;
        image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x20e] = 0x80;
        image[0x211] = 1;
        image[0x280..0x28e].copy_from_slice(b"7.2.12-x (me) ");
        image
    }

    #[test]
    fn whole_image_gives_its_release() {
        assert_eq!(inspect(&image()), Ok(Some("7.2.12-x".into())));
    }

    #[test]
    fn truncated_image_is_refused() {
        let image = image();
        assert!(inspect(&image[..image.len() - 1]).unwrap_err().contains("truncated"));
    }

    #[test]
    fn other_files_are_refused() {
        assert!(inspect(b"").is_err());
        assert!(inspect(&[0; 4096]).is_err());
    }
}
