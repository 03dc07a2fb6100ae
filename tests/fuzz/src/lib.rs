// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Bodies of the fuzz targets: each takes bytes and panics where something is wrong.

pub mod access;
pub mod config_window;
pub mod packet;
pub mod registers;
