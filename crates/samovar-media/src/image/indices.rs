//! The numbers of the colours of a PNG by palette, which data sets use as labels; the picture library hands out the colours.

use std::io::Cursor;

use png::{Decoder, DecodingError, Transformations};
use samovar_geometry::{Image, Size};

use super::decode::{ImageFormat, checked_decoder, checked_format};
use super::guard::guarded;
use super::limits::DecodeLimits;
use super::pages::png_is_by_palette;
use crate::error::{MediaError, Result};
use crate::room::{room, zeros};

/// Size and numbers, row by row, of a PNG by palette; `None` of any other picture. Limits hold as for any picture.
pub(crate) fn palette_indices(bytes: &[u8], limits: &DecodeLimits) -> Result<Option<(Size<Image>, Vec<u8>)>> {
    let format = checked_format(bytes, limits)?;
    if format != ImageFormat::Png || !png_is_by_palette(bytes) {
        return Ok(None);
    }
    guarded(|| {
        checked_decoder(bytes, format, limits)?;
        let mut decoder = Decoder::new(Cursor::new(bytes));
        decoder.set_transformations(Transformations::IDENTITY);
        let mut reader = decoder.read_info().map_err(library_error)?;
        let size = Size::new(reader.info().width, reader.info().height);
        let bits = reader.info().bit_depth as u8;
        let packed_bytes =
            reader.output_buffer_size().ok_or_else(|| MediaError::too_large("the picture is too large"))?;
        let mut packed = zeros(packed_bytes)?;
        let row_bytes = reader.next_frame(&mut packed).map_err(library_error)?.line_size;
        let mut indices = room(size.area() as usize)?;
        for row in packed.chunks_exact(row_bytes.max(1)).take(size.height as usize) {
            indices.extend((0..size.width as usize).map(|x| number(row, x, bits)));
        }
        Ok(Some((size, indices)))
    })
}

/// Number `x` of a row with so many bits each, 1, 2, 4 or 8, the first in the highest.
fn number(row: &[u8], x: usize, bits: u8) -> u8 {
    let per_byte = 8 / usize::from(bits);
    let shift = 8 - usize::from(bits) * (x % per_byte + 1);
    let mask = (0xff_u32 >> (8 - bits)) as u8;
    row[x / per_byte] >> shift & mask
}

fn library_error(error: DecodingError) -> MediaError {
    MediaError::damaged(format!("the image is damaged or cut short: {error}")).caused_by(error)
}
