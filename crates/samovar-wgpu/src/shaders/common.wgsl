// Shared by all shaders. A launch is one row of workgroups, folded because no side of a dispatch may exceed 65535; every
// shader's parameters begin with the length of a folded row and the number of workgroups.

// The workgroup's number; not below p.groups in the last, incomplete folded row.
fn group_index(wg: vec3<u32>) -> u32 {
  return wg.y * p.grid_x + wg.x;
}

// A number that no compiler can fuse with what follows: p.zero is 0, which only the host knows.
fn rounded(x: f32) -> f32 {
  return bitcast<f32>(bitcast<u32>(x) ^ p.zero);
}
