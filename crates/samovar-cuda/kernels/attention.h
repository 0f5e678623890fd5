// Attention that never stores its scores: a block takes some queries of one head and goes over the keys, keeping the largest score,
// the sum and the weighted mean of each query so far (Dao et al., FlashAttention, 2022).
#pragma once
#include "numbers.h"

struct AttentionArgs {
  const float *q, *k, *v;      // first column of the first row
  const float* padding_k;      // the row of keys and of values that stands for padding tokens, or null
  const float* padding_v;
  const float* bias;           // by `kind`: [heads, queries, keys]; [keys, heads * channels] to add to keys; the table of rows
  const float* bias_columns;   // the table of columns
  float* out;                  // rows of heads * value_channels
  unsigned q_stride, k_stride, v_stride;
  unsigned heads, channels, value_channels;
  float scale;
  unsigned groups, queries, keys;  // token groups that share a softmax, and their tokens
  unsigned key_batch;              // of sequences
  unsigned window, query_stride, height, width;  // of windows; `window` is 0 for sequences
  unsigned kind;                   // 0 nothing, 1 relative positions, 2 table, 3 positions of keys
  unsigned relative_height, relative_width;
  unsigned relative_cached;        // whether shared memory holds what relative positions add
  unsigned query_blocks, value_blocks;
  unsigned k_vector, v_vector;     // whether four numbers can be read at once
  unsigned splits, split_keys;     // blocks that share the keys of a query, and the keys of each, whole tiles
  float* partial;                  // [splits, groups, heads, queries, value_channels + 2]
};

const unsigned NO_ROW = 0xffffffffu;

// Row of the grid of an entry of a window, or NO_ROW beside the grid; a sequence's row.
DEVICE unsigned grid_row(const AttentionArgs& a, unsigned group, unsigned index, unsigned stride, unsigned batch, unsigned count) {
  if (!a.window) return group % batch * count + index;
  unsigned columns = (a.width + a.window - 1) / a.window, lines = (a.height + a.window - 1) / a.window;
  unsigned window = a.window / stride, height = a.height / stride, width = a.width / stride;
  unsigned y = group / columns % lines * window + index / window, x = group % columns * window + index % window;
  return y < height && x < width ? (group / (columns * lines) * height + y) * width + x : NO_ROW;
}
DEVICE unsigned query_row(const AttentionArgs& a, unsigned group, unsigned i) {
  return i < a.queries ? grid_row(a, group, i, a.query_stride, a.groups, a.queries) : NO_ROW;
}
DEVICE const float* key_start(const AttentionArgs& a, unsigned group, unsigned head, unsigned j) {
  if (j >= a.keys) return nullptr;
  unsigned row = grid_row(a, group, j, 1, a.key_batch, a.keys);
  return (row == NO_ROW ? a.padding_k : a.k + (unsigned long long)row * a.k_stride) + head * a.channels;
}
DEVICE const float* value_start(const AttentionArgs& a, unsigned group, unsigned head, unsigned j) {
  if (j >= a.keys) return nullptr;
  unsigned row = grid_row(a, group, j, 1, a.key_batch, a.keys);
  return (row == NO_ROW ? a.padding_v : a.v + (unsigned long long)row * a.v_stride) + head * a.value_channels;
}

// What a block found about its part of the keys: sums of weighted values, the largest score, the sum of weights.
DEVICE float* partial_start(const AttentionArgs& a, unsigned split, unsigned group, unsigned head, unsigned i) {
  return a.partial + ((((unsigned long long)split * a.groups + group) * a.heads + head) * a.queries + i) * (a.value_channels + 2);
}

// What is added to a score but for cached relative positions.
DEVICE float relative_number(const AttentionArgs& a, const float* query, unsigned i, unsigned j) {
  unsigned row = i / a.relative_width + a.relative_height - 1 - j / a.relative_width;
  unsigned column = i % a.relative_width + a.relative_width - 1 - j % a.relative_width;
  float sum = 0.f;
  NO_UNROLL
  for (unsigned c = 0; c < a.channels; c++) sum += query[c] * (a.bias[row * a.channels + c] + a.bias_columns[column * a.channels + c]);
  return sum;
}

// In f32, without matrix units: 64 queries and 64 keys at once, 4 x 4 scores per thread. NV * 16 columns of values.
template <int NV> struct AttentionF32 {
  static const int Q = 64, K = 64, C = 32, S = 68, VK = 16, VS = NV * 16;
  static const int QS = 0, KS = QS + C * S, PS = KS + C * S, VALUES = PS + K * S, POINTERS = VALUES + VK * VS, RELATIVE = POINTERS + 4 * K;
  // Beside what relative positions take: 64 numbers per row and column of the grid.
  static const int SHARED_BYTES = RELATIVE * 4;

  static DEVICE void run(const AttentionArgs& a) {
    float* shared = (float*)shared_memory();
    float *qs = shared + QS, *ks = shared + KS, *ps = shared + PS, *vs = shared + VALUES, *relative = shared + RELATIVE;
    const float** key_pointers = (const float**)(shared + POINTERS);
    const float** value_pointers = key_pointers + K;
    const unsigned thread = threadIdx.x, tx = thread % 16, ty = thread / 16;
    unsigned block = blockIdx.x;
    const unsigned i0 = block % a.query_blocks * Q;
    block /= a.query_blocks;
    const unsigned first_value = block % a.value_blocks * VS;
    block /= a.value_blocks;
    const unsigned head = block % a.heads, group = block / a.heads;
    const unsigned sides = a.relative_height + a.relative_width;

    // Rows that this thread reads into shared memory, eight of 64 queries: all with the same channel.
    const float* my_queries[8];
    UNROLL
    for (int i = 0; i < 8; i++) {
      unsigned row = query_row(a, group, i0 + thread / 32 + i * 8);
      my_queries[i] = row == NO_ROW ? nullptr : a.q + (unsigned long long)row * a.q_stride + head * a.channels;
    }

    // Scores of the queries with the vectors that `key_pointers` name; `positions`, if any, are added to those.
    auto scores = [&](float (&s)[4][4], unsigned j0, bool placed) {
      UNROLL
      for (int i = 0; i < 4; i++)
        UNROLL
        for (int j = 0; j < 4; j++) s[i][j] = 0.f;
      for (unsigned c0 = 0; c0 < a.channels; c0 += C) {
        unsigned c = c0 + thread % 32;
        bool inside = c < a.channels;
        UNROLL
        for (int i = 0; i < 8; i++) {
          unsigned r = thread / 32 + i * 8;
          qs[thread % 32 * S + r] = inside && my_queries[i] ? my_queries[i][c] : 0.f;
          const float* key = key_pointers[r];
          float number = inside && key ? key[c] : 0.f;
          if (placed && inside && key) number += a.bias[(unsigned long long)(j0 + r) * a.heads * a.channels + head * a.channels + c];
          ks[thread % 32 * S + r] = number;
        }
        __syncthreads();
        UNROLL
        for (int d = 0; d < C; d++) {
          float4 qv = *(const float4*)(qs + d * S + ty * 4), kv = *(const float4*)(ks + d * S + tx * 4);
          float q4[4] = {qv.x, qv.y, qv.z, qv.w}, k4[4] = {kv.x, kv.y, kv.z, kv.w};
          UNROLL
          for (int i = 0; i < 4; i++)
            UNROLL
            for (int j = 0; j < 4; j++) s[i][j] += q4[i] * k4[j];
        }
        __syncthreads();
      }
    };

    if (a.kind == 1 && a.relative_cached) {
      // Products of the queries with both tables; each is needed where it belongs to a row or column of the grid.
      for (unsigned table = 0; table < 2; table++) {
        unsigned side = table ? a.relative_width : a.relative_height, entries = 2 * side - 1;
        const float* numbers = table ? a.bias_columns : a.bias;
        for (unsigned r0 = 0; r0 < entries; r0 += K) {
          if (thread < K) key_pointers[thread] = r0 + thread < entries ? numbers + (r0 + thread) * a.channels : nullptr;
          __syncthreads();
          float s[4][4];
          scores(s, 0, false);
          UNROLL
          for (int i = 0; i < 4; i++)
            UNROLL
            for (int j = 0; j < 4; j++) {
              unsigned r = ty * 4 + i, at = i0 + r, place = table ? at % a.relative_width : at / a.relative_width;
              unsigned entry = r0 + tx * 4 + j, other = place + side - 1 - entry;
              if (entry < entries && at < a.queries && other < side) relative[r * sides + (table ? a.relative_height : 0) + other] = s[i][j];
            }
          __syncthreads();
        }
      }
    }

    float acc[4][NV], top[4], sum[4];
    UNROLL
    for (int i = 0; i < 4; i++) {
      top[i] = -infinity();
      sum[i] = 0.f;
      UNROLL
      for (int n = 0; n < NV; n++) acc[i][n] = 0.f;
    }
    for (unsigned j0 = 0; j0 < a.keys; j0 += K) {
      if (thread < K) {
        key_pointers[thread] = key_start(a, group, head, j0 + thread);
        value_pointers[thread] = value_start(a, group, head, j0 + thread);
      }
      if (a.kind == 1 && !a.relative_cached) {
        NO_UNROLL
        for (unsigned n = thread; n < Q * K; n += 256) {
          unsigned r = n / K, key = j0 + n % K, row = query_row(a, group, i0 + r);
          ps[n % K * S + r] = row == NO_ROW || key >= a.keys ? 0.f : relative_number(a, a.q + (unsigned long long)row * a.q_stride + head * a.channels, i0 + r, key);
        }
      }
      __syncthreads();
      float s[4][4];
      scores(s, j0, a.kind == 3);
      UNROLL
      for (int i = 0; i < 4; i++) {
        unsigned at = i0 + ty * 4 + i;
        float most = top[i];
        UNROLL
        for (int j = 0; j < 4; j++) {
          unsigned key = j0 + tx * 4 + j;
          float v = a.scale * s[i][j];
          if (key >= a.keys) v = -infinity();
          else if (at < a.queries && a.kind == 2) v += a.bias[((unsigned long long)head * a.queries + at) * a.keys + key];
          else if (at < a.queries && a.kind == 1) {
            const float* numbers = relative + (ty * 4 + i) * sides;
            v += a.relative_cached ? numbers[key / a.relative_width] + numbers[a.relative_height + key % a.relative_width] : ps[(tx * 4 + j) * S + ty * 4 + i];
          }
          s[i][j] = v;
          most = fmaxf(most, v);
        }
        UNROLL
        for (int mask = 8; mask; mask >>= 1) most = fmaxf(most, shuffle_xor(most, mask));
        float shrink = expf(top[i] - most), part = 0.f;
        top[i] = most;
        UNROLL
        for (int j = 0; j < 4; j++) {
          float weight = expf(s[i][j] - most);
          part += weight;
          ps[(tx * 4 + j) * S + ty * 4 + i] = weight;
        }
        UNROLL
        for (int mask = 8; mask; mask >>= 1) part += shuffle_xor(part, mask);
        sum[i] = sum[i] * shrink + part;
        UNROLL
        for (int n = 0; n < NV; n++) acc[i][n] *= shrink;
      }
      for (unsigned v0 = 0; v0 < K && j0 + v0 < a.keys; v0 += VK) {
        __syncthreads();
        for (unsigned at = thread; at < VK * VS; at += 256) {
          unsigned r = at / VS, c = at % VS;
          const float* value = value_pointers[v0 + r];
          vs[at] = value && first_value + c < a.value_channels ? value[first_value + c] : 0.f;
        }
        __syncthreads();
        UNROLL
        for (int k = 0; k < VK; k++) {
          float4 pv = *(const float4*)(ps + (v0 + k) * S + ty * 4);
          float p4[4] = {pv.x, pv.y, pv.z, pv.w};
          UNROLL
          for (int n = 0; n < NV; n++) {
            float value = vs[k * VS + tx + n * 16];
            UNROLL
            for (int i = 0; i < 4; i++) acc[i][n] += p4[i] * value;
          }
        }
      }
      __syncthreads();
    }
    UNROLL
    for (int i = 0; i < 4; i++) {
      unsigned row = query_row(a, group, i0 + ty * 4 + i);
      if (row == NO_ROW) continue;
      float* to = a.out + ((unsigned long long)row * a.heads + head) * a.value_channels + first_value;
      UNROLL
      for (int n = 0; n < NV; n++) {
        unsigned c = tx + n * 16;
        if (first_value + c < a.value_channels) to[c] = acc[i][n] / sum[i];
      }
    }
  }
};

// On the matrix units: WARPS * 16 queries and 64 keys (32 where they are three pieces) at once, heads of up to CK channels in keys and CV in values. With one piece operands
// and weights are rounded to bfloat16; with three they are f32. What relative positions add must have room in shared memory. Where there are few queries, blocks share the keys of each, and
// `combine` puts together what they find.
template <int CK, int CV, int PIECES, int WARPS> struct AttentionMma {
  static const int Q = WARPS * 16, K = PIECES == 1 ? 64 : 32, THREADS = WARPS * 32, KS = CK / 16, NB = CV / 8;
  static const int KEY_STRIDE = CK + 8, VALUE_STRIDE = CV + 8, KEY_PLANE = K * KEY_STRIDE, VALUE_PLANE = K * VALUE_STRIDE;
  // Sixteens of keys whose weights are multiplied with values together.
  static const int TOGETHER = PIECES == 1 ? 1 : 2;
  // Queries and tables of relative positions have more pieces than rounded keys: what they make is added to scores as it is.
  static const int RELATIVE_PIECES = PIECES == 1 ? 2 : 3;
  static const int PLANES = PIECES * (KEY_PLANE + VALUE_PLANE), RELATIVE_PLANES = RELATIVE_PIECES * KEY_PLANE;
  static const int POINTERS = 2 * (PLANES > RELATIVE_PLANES ? PLANES : RELATIVE_PLANES), RELATIVE = POINTERS + 2 * K * 8;
  // Beside what relative positions take: Q numbers per row and column of the grid.
  static const int SHARED_BYTES = RELATIVE;

  template <int P> static DEVICE void queries(const AttentionArgs& a, const float* const (&rows)[2], unsigned (&f)[P][KS][4]) {
    const unsigned t = threadIdx.x % 4 * 2;
    UNROLL
    for (int s = 0; s < KS; s++)
      UNROLL
      for (int e = 0; e < 4; e++) {
        unsigned c = s * 16 + e / 2 * 8 + t;
        const float* row = rows[e % 2];
        unsigned short lower[P], upper[P];
        split_bf16(row && c < a.channels ? row[c] : 0.f, lower);
        split_bf16(row && c + 1 < a.channels ? row[c + 1] : 0.f, upper);
        UNROLL
        for (int p = 0; p < P; p++) f[p][s][e] = pack(lower[p], upper[p]);
      }
  }

  // K vectors of `channels` numbers to shared memory, in P pieces.
  template <int P, int CP> static DEVICE void vectors(unsigned short* to, const float* const* pointers, unsigned channels, bool is_vector, const float* positions, unsigned long long position_stride) {
    for (unsigned at = threadIdx.x; at < K * CP / 4; at += THREADS) {
      unsigned r = at / (CP / 4), c = at % (CP / 4) * 4;
      const float* from = pointers[r];
      float4 v = make_float4(0.f, 0.f, 0.f, 0.f);
      if (from && c < channels) {
        const float* place = positions ? positions + r * position_stride : nullptr;
        if (is_vector && !positions) v = *(const float4*)(from + c);
        else {
          v.x = from[c] + (place ? place[c] : 0.f);
          if (c + 1 < channels) v.y = from[c + 1] + (place ? place[c + 1] : 0.f);
          if (c + 2 < channels) v.z = from[c + 2] + (place ? place[c + 2] : 0.f);
          if (c + 3 < channels) v.w = from[c + 3] + (place ? place[c + 3] : 0.f);
        }
      }
      store_pieces<P, false>(to + r * (CP + 8) + c, K * (CP + 8), v);
    }
  }

  template <int P> static DEVICE void scores(float (&s)[K / 8][4], const unsigned (&q)[P][KS][4], const unsigned short* keys) {
    const unsigned lane = threadIdx.x % 32;
    UNROLL
    for (int n = 0; n < K / 8; n++)
      UNROLL
      for (int e = 0; e < 4; e++) s[n][e] = 0.f;
    auto key = [&](unsigned (&k)[4], int c, int n, int o) {
      ldmatrix_x4(k, keys + o * KEY_PLANE + (n * 16 + lane % 8 + lane / 16 * 8) * KEY_STRIDE + c * 16 + lane / 8 % 2 * 8);
    };
    if constexpr (P < 3) {
      UNROLL
      for (int c = 0; c < KS; c++)
        UNROLL
        for (int n = 0; n < K / 16; n++)
          UNROLL
          for (int o = P - 1; o >= 0; o--) {
            unsigned k[4];
            key(k, c, n, o);
            UNROLL
            for (int p = P - 1 - o; p >= 0; p--) {
              mma_bf16(s[n * 2], q[p][c], k[0], k[1]);
              mma_bf16(s[n * 2 + 1], q[p][c], k[2], k[3]);
            }
          }
    } else {
      // Small products first; sums of the others are added outside the matrix units, which cut off.
      UNROLL
      for (int c = 0; c < KS; c++)
        UNROLL
        for (int n = 0; n < K / 16; n++)
          UNROLL
          for (int o = P - 1; o >= 0; o--) {
            unsigned k[4];
            key(k, c, n, o);
            UNROLL
            for (int p = P - 1; p >= 0; p--) {
              if (p + o == 0 || p + o > 2) continue;
              mma_bf16(s[n * 2], q[p][c], k[0], k[1]);
              mma_bf16(s[n * 2 + 1], q[p][c], k[2], k[3]);
            }
          }
      UNROLL
      for (int c = 0; c < KS; c++)
        UNROLL
        for (int n = 0; n < K / 16; n++) {
          unsigned k[4];
          key(k, c, n, 0);
          UNROLL
          for (int half = 0; half < 2; half++) {
            float part[4] = {0.f, 0.f, 0.f, 0.f};
            mma_bf16(part, q[0][c], k[half * 2], k[half * 2 + 1]);
            UNROLL
            for (int e = 0; e < 4; e++) s[n * 2 + half][e] += part[e];
          }
        }
    }
  }

  static DEVICE void run(const AttentionArgs& a) {
    unsigned short* planes = (unsigned short*)shared_memory();
    unsigned short* value_planes = planes + PIECES * KEY_PLANE;
    const float** key_pointers = (const float**)(shared_memory() + POINTERS);
    const float** value_pointers = key_pointers + K;
    float* relative = (float*)(shared_memory() + RELATIVE);
    const unsigned thread = threadIdx.x, lane = thread % 32, warp = thread / 32, g = lane / 4, t = lane % 4 * 2;
    unsigned block = blockIdx.x;
    const unsigned i0 = block % a.query_blocks * Q + warp * 16;
    block /= a.query_blocks;
    const unsigned split = block % a.splits, first_key = split * a.split_keys, last_key = min(first_key + a.split_keys, a.keys);
    block /= a.splits;
    const unsigned head = block % a.heads, group = block / a.heads;
    const unsigned sides = a.relative_height + a.relative_width;
    const unsigned rows[2] = {query_row(a, group, i0 + g), query_row(a, group, i0 + g + 8)};
    const float* query_starts[2];
    UNROLL
    for (int h = 0; h < 2; h++) query_starts[h] = rows[h] == NO_ROW ? nullptr : a.q + (unsigned long long)rows[h] * a.q_stride + head * a.channels;

    if (a.kind == 1) {
      unsigned q[RELATIVE_PIECES][KS][4];
      queries<RELATIVE_PIECES>(a, query_starts, q);
      for (unsigned table = 0; table < 2; table++) {
        unsigned side = table ? a.relative_width : a.relative_height, entries = 2 * side - 1;
        const float* numbers = table ? a.bias_columns : a.bias;
        for (unsigned r0 = 0; r0 < entries; r0 += K) {
          if (thread < K) key_pointers[thread] = r0 + thread < entries ? numbers + (r0 + thread) * a.channels : nullptr;
          __syncthreads();
          vectors<RELATIVE_PIECES, CK>(planes, key_pointers, a.channels, false, nullptr, 0);
          __syncthreads();
          float s[K / 8][4];
          scores<RELATIVE_PIECES>(s, q, planes);
          UNROLL
          for (int n = 0; n < K / 8; n++)
            UNROLL
            for (int e = 0; e < 4; e++) {
              unsigned r = warp * 16 + g + e / 2 * 8, at = i0 + g + e / 2 * 8, place = table ? at % a.relative_width : at / a.relative_width;
              unsigned entry = r0 + n * 8 + t + e % 2, other = place + side - 1 - entry;
              if (entry < entries && at < a.queries && other < side) relative[r * sides + (table ? a.relative_height : 0) + other] = s[n][e];
            }
          __syncthreads();
        }
      }
    }

    unsigned q[PIECES][KS][4];
    queries<PIECES>(a, query_starts, q);
    float acc[NB][4], top[2] = {-infinity(), -infinity()}, sum[2] = {0.f, 0.f};
    UNROLL
    for (int n = 0; n < NB; n++)
      UNROLL
      for (int e = 0; e < 4; e++) acc[n][e] = 0.f;
    const float log2e = 1.44269504088896341f;
    for (unsigned j0 = first_key; j0 < last_key; j0 += K) {
      if (thread < K) {
        key_pointers[thread] = key_start(a, group, head, j0 + thread);
        value_pointers[thread] = value_start(a, group, head, j0 + thread);
      }
      __syncthreads();
      unsigned long long position_stride = (unsigned long long)a.heads * a.channels;
      const float* positions = a.kind == 3 ? a.bias + j0 * position_stride + head * a.channels : nullptr;
      vectors<PIECES, CK>(planes, key_pointers, a.channels, a.k_vector, positions, position_stride);
      vectors<PIECES, CV>(value_planes, value_pointers, a.value_channels, a.v_vector, nullptr, 0);
      __syncthreads();
      float s[K / 8][4];
      scores<PIECES>(s, q, planes);
      float most[2] = {top[0], top[1]};
      UNROLL
      for (int n = 0; n < K / 8; n++)
        UNROLL
        for (int odd = 0; odd < 2; odd++) {
          unsigned key = j0 + n * 8 + t + odd, row = 0, column = 0;
          if (a.kind == 1) {
            row = key / a.relative_width;
            column = key - row * a.relative_width;
          }
          UNROLL
          for (int h = 0; h < 2; h++) {
            unsigned at = i0 + g + h * 8;
            float v = a.scale * s[n][h * 2 + odd];
            if (key >= a.keys) v = -infinity();
            else if (at < a.queries && a.kind == 2) v += a.bias[((unsigned long long)head * a.queries + at) * a.keys + key];
            else if (at < a.queries && a.kind == 1) {
              const float* numbers = relative + (warp * 16 + g + h * 8) * sides;
              v += numbers[row] + numbers[a.relative_height + column];
            }
            s[n][h * 2 + odd] = v;
            most[h] = fmaxf(most[h], v);
          }
        }
      UNROLL
      for (int h = 0; h < 2; h++) {
        most[h] = fmaxf(most[h], shuffle_xor(most[h], 1));
        most[h] = fmaxf(most[h], shuffle_xor(most[h], 2));
        float shrink = PIECES == 1 ? exp2_fast((top[h] - most[h]) * log2e) : expf(top[h] - most[h]);
        top[h] = most[h];
        sum[h] *= shrink;
        UNROLL
        for (int n = 0; n < NB; n++) {
          acc[n][h * 2] *= shrink;
          acc[n][h * 2 + 1] *= shrink;
        }
        UNROLL
        for (int n = 0; n < K / 8; n++)
          UNROLL
          for (int odd = 0; odd < 2; odd++) {
            float difference = s[n][h * 2 + odd] - most[h];
            float weight = PIECES == 1 ? exp2_fast(difference * log2e) : expf(difference);
            s[n][h * 2 + odd] = weight;
            sum[h] += weight;
          }
      }
      UNROLL
      for (int k0 = 0; k0 < K / 16; k0 += TOGETHER) {
        unsigned weights[PIECES][TOGETHER][4];
        UNROLL
        for (int k = 0; k < TOGETHER; k++)
          UNROLL
          for (int e = 0; e < 4; e++) {
            unsigned short lower[PIECES], upper[PIECES];
            split_bf16(s[(k0 + k) * 2 + e / 2][e % 2 * 2], lower);
            split_bf16(s[(k0 + k) * 2 + e / 2][e % 2 * 2 + 1], upper);
            UNROLL
            for (int p = 0; p < PIECES; p++) weights[p][k][e] = pack(lower[p], upper[p]);
          }
        UNROLL
        for (int n = 0; n < NB / 2; n++) {
          auto value = [&](unsigned (&v)[4], int k, int o) {
            ldmatrix_x4_transposed(v, value_planes + o * VALUE_PLANE + ((k0 + k) * 16 + lane % 16) * VALUE_STRIDE + n * 16 + lane / 16 * 8);
          };
          if constexpr (PIECES == 1) {
            unsigned v[4];
            value(v, 0, 0);
            mma_bf16(acc[n * 2], weights[0][0], v[0], v[1]);
            mma_bf16(acc[n * 2 + 1], weights[0][0], v[2], v[3]);
          } else {
            // As in scores: what these keys add is summed apart, small products first.
            float part[2][4] = {{0.f, 0.f, 0.f, 0.f}, {0.f, 0.f, 0.f, 0.f}};
            UNROLL
            for (int largest = 0; largest < 2; largest++)
              UNROLL
              for (int k = 0; k < TOGETHER; k++)
                UNROLL
                for (int o = largest ? 0 : PIECES - 1; o >= 0; o--) {
                  unsigned v[4];
                  value(v, k, o);
                  UNROLL
                  for (int p = PIECES - 1; p >= 0; p--) {
                    if ((p + o == 0) != (largest == 1) || p + o > 2) continue;
                    mma_bf16(part[0], weights[p][k], v[0], v[1]);
                    mma_bf16(part[1], weights[p][k], v[2], v[3]);
                  }
                }
            UNROLL
            for (int half = 0; half < 2; half++)
              UNROLL
              for (int e = 0; e < 4; e++) acc[n * 2 + half][e] += part[half][e];
          }
        }
      }
      __syncthreads();
    }
    UNROLL
    for (int h = 0; h < 2; h++) {
      sum[h] += shuffle_xor(sum[h], 1);
      sum[h] += shuffle_xor(sum[h], 2);
      if (rows[h] == NO_ROW) continue;
      float* to = a.out + ((unsigned long long)rows[h] * a.heads + head) * a.value_channels;
      float divisor = sum[h];
      if (a.splits > 1) {
        to = partial_start(a, split, group, head, i0 + g + h * 8);
        divisor = 1.f;
        if (t == 0) {
          to[a.value_channels] = top[h];
          to[a.value_channels + 1] = sum[h];
        }
      }
      UNROLL
      for (int n = 0; n < NB; n++)
        UNROLL
        for (int odd = 0; odd < 2; odd++) {
          unsigned c = n * 8 + t + odd;
          if (c < a.value_channels) to[c] = acc[n][h * 2 + odd] / divisor;
        }
    }
  }
};

// The mean over all keys from those over parts of them, one number of the result after the other.
DEVICE void combine(const AttentionArgs& a) {
  unsigned long long all = (unsigned long long)a.groups * a.heads * a.queries * a.value_channels;
  for (unsigned long long n = blockIdx.x * (unsigned long long)blockDim.x + threadIdx.x; n < all; n += gridDim.x * (unsigned long long)blockDim.x) {
    unsigned c = (unsigned)(n % a.value_channels), i = (unsigned)(n / a.value_channels % a.queries);
    unsigned long long block = n / a.value_channels / a.queries;
    unsigned head = (unsigned)(block % a.heads), group = (unsigned)(block / a.heads), row = query_row(a, group, i);
    if (row == NO_ROW) continue;
    float top = -infinity(), sum = 0.f, weighted = 0.f;
    for (unsigned s = 0; s < a.splits; s++) top = fmaxf(top, partial_start(a, s, group, head, i)[a.value_channels]);
    for (unsigned s = 0; s < a.splits; s++) {
      const float* part = partial_start(a, s, group, head, i);
      float weight = expf(part[a.value_channels] - top);
      sum += weight * part[a.value_channels + 1];
      weighted += weight * part[c];
    }
    a.out[((unsigned long long)row * a.heads + head) * a.value_channels + c] = weighted / sum;
  }
}
