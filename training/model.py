"""nano: a small promptable segmentation model (SAM-style decoder on a MobileNetV2 trunk).

Shapes below use S (input side), D (embed_dim), B (images), P (prompts), T (tokens). The exact
operator list for a re-implementation is ARCHITECTURE.md; this file is the training-side truth.
"""
import math
from dataclasses import dataclass, asdict, field

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass
class NanoConfig:
    model_type: str = "nano"
    image_size: int = 384
    patch_size: int = 16
    stem_channels: int = 32
    # rows of (expansion, out channels, repeats, stride of first, dilation of first, dilation of rest)
    trunk: list = field(default_factory=lambda: [
        [1, 16, 1, 1, 1, 1], [6, 24, 2, 2, 1, 1], [6, 32, 3, 2, 1, 1], [6, 64, 4, 2, 1, 1],
        [6, 96, 3, 1, 1, 1], [6, 160, 3, 1, 1, 2], [6, 320, 1, 1, 2, 2]])
    taps: list = field(default_factory=lambda: [0, 2, 5, 16])  # block indices at stride 2, 4, 8, 16
    embed_dim: int = 128
    vit_depth: int = 2
    vit_heads: int = 4
    vit_mlp_dim: int = 512
    fpn_dim_8: int = 64
    fpn_dim_4: int = 32
    dense_mid_channels: list = field(default_factory=lambda: [16, 64])
    decoder_depth: int = 2
    decoder_heads: int = 4
    attention_downsample_rate: int = 2
    decoder_mlp_dim: int = 512
    iou_head_hidden_dim: int = 128
    num_multimask_outputs: int = 3
    refine_blocks_8: int = 1
    refine_blocks_4: int = 1
    refine_kernel: int = 5
    layer_norm_eps: float = 1e-6
    click_sigma: float = 1.5
    click_scales: list = field(default_factory=list)  # further widths of clicks, two channels of the dense map each
    fine_dim: int = 0  # channels of the stride-2 residual of the mask logits; 0: none
    mask_clamp: float = 10.0
    pixel_mean: list = field(default_factory=lambda: [127.5, 127.5, 127.5])
    pixel_std: list = field(default_factory=lambda: [127.5, 127.5, 127.5])

    def to_dict(self):
        """All numbers but those of extensions that are off, so that plain files look as they always did."""
        return {k: v for k, v in asdict(self).items() if v or k not in ("click_scales", "fine_dim")}

    @property
    def dense_channels(self):
        return 4 + 2 * len(self.click_scales)


def blocks_of(cfg):
    """Per block: (in, hidden, out, stride, dilation)."""
    out, cin = [], cfg.stem_channels
    for t, c, n, s, d0, d in cfg.trunk:
        for i in range(n):
            out.append((cin, cin * t, c, s if i == 0 else 1, d0 if i == 0 else d))
            cin = c
    return out


class LayerNorm2d(nn.Module):
    """LayerNorm over the channels of [N, C, H, W]."""

    def __init__(self, c, eps):
        super().__init__()
        self.weight, self.bias, self.eps = nn.Parameter(torch.ones(c)), nn.Parameter(torch.zeros(c)), eps

    def forward(self, x):
        y = F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], self.weight, self.bias, self.eps)
        return y.permute(0, 3, 1, 2)  # stays channels-last in memory


class InvertedResidual(nn.Module):
    """MobileNetV2 block, batch norm already folded: expand 1x1, depthwise 3x3, project 1x1."""

    def __init__(self, cin, hidden, cout, stride, dilation):
        super().__init__()
        self.expand = nn.Conv2d(cin, hidden, 1) if hidden != cin else None
        self.depthwise = nn.Conv2d(hidden, hidden, 3, stride, dilation, dilation, groups=hidden)
        self.project = nn.Conv2d(hidden, cout, 1)
        self.residual = stride == 1 and cin == cout

    def forward(self, x):
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.residual else y


class Trunk(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.stem = nn.Conv2d(3, cfg.stem_channels, 3, 2, 1)
        self.blocks = nn.ModuleList(InvertedResidual(*b) for b in blocks_of(cfg))
        self.taps = cfg.taps
        self.frozen_blocks = 0  # stem and blocks[:n] run without gradient

    def forward(self, x):
        outs = []
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.frozen_blocks == 0):
            x = F.relu6(self.stem(x))
            for i in range(self.frozen_blocks):
                x = self.blocks[i](x)
                if i in self.taps:
                    outs.append(x)
        for i in range(self.frozen_blocks, len(self.blocks)):
            x = self.blocks[i](x)
            if i in self.taps:
                outs.append(x)
        return outs


class Mlp(nn.Module):
    def __init__(self, dim, hidden, act):
        super().__init__()
        self.lin1, self.lin2, self.act = nn.Linear(dim, hidden), nn.Linear(hidden, dim), act

    def forward(self, x):
        return self.lin2(self.act(self.lin1(x)))


def heads_attention(q, k, v, heads):
    """q [B, Tq, C], k and v [B, Tk, C] -> softmax(q k' / sqrt(C/heads)) v, [B, Tq, C]."""
    b, tq, c = q.shape
    q, k, v = (t.view(b, -1, heads, c // heads).transpose(1, 2) for t in (q, k, v))
    if q.is_cuda:
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, tq, c)
    a = (q * (c // heads) ** -0.5) @ k.transpose(2, 3)
    return (a.softmax(-1) @ v).transpose(1, 2).reshape(b, tq, c)


class VitAttention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.qkv, self.proj, self.heads = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim), heads

    def forward(self, x):
        return self.proj(heads_attention(*self.qkv(x).chunk(3, -1), self.heads))


class VitLayer(nn.Module):
    """Pre-norm transformer layer with global attention on [B, T, D]."""

    def __init__(self, cfg):
        super().__init__()
        d, eps = cfg.embed_dim, cfg.layer_norm_eps
        self.layer_norm1, self.attn = nn.LayerNorm(d, eps), VitAttention(d, cfg.vit_heads)
        self.layer_norm2, self.mlp = nn.LayerNorm(d, eps), Mlp(d, cfg.vit_mlp_dim, F.gelu)

    def forward(self, x):
        x = x + self.attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


def up2(x):
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class VisionEncoder(nn.Module):
    """[B, 3, S, S] -> image_embedding [B, D, S/16, S/16], high_res_8 [B, 64, S/8, S/8], high_res_4 [B, 32, S/4, S/4],
    and with fine_dim high_res_2 [B, fine_dim, S/2, S/2]."""

    def __init__(self, cfg):
        super().__init__()
        ch = [blocks_of(cfg)[i][2] for i in cfg.taps]
        d, d8, d4, eps = cfg.embed_dim, cfg.fpn_dim_8, cfg.fpn_dim_4, cfg.layer_norm_eps
        self.trunk = Trunk(cfg)
        self.neck_proj, self.neck_norm = nn.Conv2d(ch[3], d, 1), LayerNorm2d(d, eps)
        self.layers = nn.ModuleList(VitLayer(cfg) for _ in range(cfg.vit_depth))
        self.out_norm = LayerNorm2d(d, eps)
        self.lateral_8, self.top_8 = nn.Conv2d(ch[2], d8, 1), nn.Conv2d(d, d8, 1)
        self.norm_8, self.smooth_8 = LayerNorm2d(d8, eps), nn.Conv2d(d8, d8, 3, 1, 1)
        self.lateral_4, self.top_4 = nn.Conv2d(ch[1], d4, 1), nn.Conv2d(d8, d4, 1)
        self.lateral_2 = nn.Conv2d(ch[0], d4, 3, 2, 1)
        self.norm_4, self.smooth_4 = LayerNorm2d(d4, eps), nn.Conv2d(d4, d4, 3, 1, 1)
        self.fine_2 = nn.Conv2d(ch[0], cfg.fine_dim, 3, 1, 1) if cfg.fine_dim else None

    def forward(self, x, pe):
        """pe [D, S/16, S/16]: the image-wide positional encoding."""
        s2, s4, s8, s16 = self.trunk(x)
        y = self.neck_norm(self.neck_proj(s16)) + pe
        b, d, h, w = y.shape
        t = y.flatten(2).transpose(1, 2)
        for layer in self.layers:
            t = layer(t)
        emb = self.out_norm(t.transpose(1, 2).view(b, d, h, w))
        p8 = F.gelu(self.norm_8(self.lateral_8(s8) + up2(self.top_8(emb))))
        h8 = self.smooth_8(p8)
        p4 = F.gelu(self.norm_4(self.lateral_4(s4) + self.lateral_2(s2) + up2(self.top_4(h8))))
        out = emb, h8, self.smooth_4(p4)
        return out if self.fine_2 is None else (*out, self.fine_2(s2))


class PositionalEmbedding(nn.Module):
    """Random Fourier features of coordinates in [0, 1]."""

    def __init__(self, cfg):
        super().__init__()
        self.register_buffer("positional_embedding", torch.randn(2, cfg.embed_dim // 2))

    def forward(self, xy):
        """xy [..., 2] in [0, 1], x first -> [..., D]."""
        with torch.autocast(xy.device.type, enabled=False):  # phases need all their bits
            c = (2 * xy.float() - 1) @ self.positional_embedding * (2 * math.pi)
            return torch.cat([c.sin(), c.cos()], -1)

    def grid(self, n):
        """[D, n, n] for cell centres."""
        g = (torch.arange(n, device=self.positional_embedding.device) + 0.5) / n
        xy = torch.stack(torch.broadcast_tensors(g[None, :], g[:, None]), -1)
        return self(xy).permute(2, 0, 1)


class MaskEmbed(nn.Module):
    """Dense prompt map [P, dense_channels, S/4, S/4] -> [P, D, S/16, S/16]."""

    def __init__(self, cfg):
        super().__init__()
        c1, c2 = cfg.dense_mid_channels
        self.conv1, self.layer_norm1 = nn.Conv2d(cfg.dense_channels, c1, 2, 2), LayerNorm2d(c1, cfg.layer_norm_eps)
        self.conv2, self.layer_norm2 = nn.Conv2d(c1, c2, 2, 2), LayerNorm2d(c2, cfg.layer_norm_eps)
        self.conv3 = nn.Conv2d(c2, cfg.embed_dim, 1)

    def forward(self, m):
        m = F.gelu(self.layer_norm1(self.conv1(m)))
        m = F.gelu(self.layer_norm2(self.conv2(m)))
        return self.conv3(m)


def dense_prompt(points, labels, boxes, masks, size, sigma, clamp, scales=()):
    """The dense prompt map at stride 4.

    points [P, N, 2] and boxes [P, 4] (or None) in input pixels, labels [P, N] in {1, 0, -1},
    masks [P, size, size] logits (or None; twice the side is averaged down) -> [P, 4 + 2 per scale, size, size]:
    previous mask, positive clicks, negative clicks, box interior; then positive and negative clicks of every further
    width in scales.
    """
    p = points.shape[0]
    idx = torch.arange(size, dtype=torch.float32, device=points.device)
    u = (points.float() + 0.5) / 4 - 0.5
    out = torch.zeros(p, 4 + 2 * len(scales), size, size, device=points.device)
    if masks is not None:
        if masks.shape[-1] == 2 * size:
            masks = F.avg_pool2d(masks[:, None].float(), 2)[:, 0]
        out[:, 0] = masks.float().clamp(-clamp, clamp) / clamp
    for at, width in zip((1, *range(4, out.shape[1], 2)), (sigma, *scales)):
        gx = torch.exp(-(idx - u[..., 0:1]) ** 2 / (2 * width * width))  # [P, N, size]
        gy = torch.exp(-(idx - u[..., 1:2]) ** 2 / (2 * width * width))
        for ch, lab in ((at, 1), (at + 1, 0)):
            on = (labels == lab).float()[..., None]
            for n in range(points.shape[1]):
                g = (gy[:, n] * on[:, n])[:, :, None] * gx[:, n][:, None, :]
                out[:, ch] = torch.maximum(out[:, ch], g)
    if boxes is not None:
        b = boxes.float() / 4
        cover = lambda lo, hi: (torch.minimum(hi, idx + 1) - torch.maximum(lo, idx)).clamp(0, 1)
        out[:, 3] = cover(b[:, 1:2], b[:, 3:4])[:, :, None] * cover(b[:, 0:1], b[:, 2:3])[:, None, :]
    return out


class PromptEncoder(nn.Module):
    def __init__(self, cfg, shared):
        super().__init__()
        d = cfg.embed_dim
        self.cfg, self.shared = cfg, [shared]  # in a list: stored once, under shared_image_embedding
        self.point_embed = nn.ModuleList(nn.Embedding(1, d) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, d)
        self.mask_embed = MaskEmbed(cfg)

    def sparse(self, coords, labels, image_size):
        """coords [P, T, 2] input pixels, labels [P, T] -> tokens [P, T, D].

        Labels: 1 positive, 0 negative, 2 and 3 the box corners, -1 not a point (position ignored).
        """
        pe, l = self.shared[0]((coords + 0.5) / image_size), labels[..., None]
        tok = torch.where(l == -1, self.not_a_point_embed.weight[0], pe)
        for i in range(4):  # point_embed: 0 negative, 1 positive, 2 top left, 3 bottom right
            tok = tok + (l == i) * self.point_embed[i].weight[0]
        return tok


class Attention(nn.Module):
    """SAM's attention with an internal width of D / downsample."""

    def __init__(self, cfg, downsample):
        super().__init__()
        d = cfg.embed_dim
        inner = d // downsample
        self.q_proj, self.k_proj, self.v_proj = nn.Linear(d, inner), nn.Linear(d, inner), nn.Linear(d, inner)
        self.out_proj, self.heads = nn.Linear(inner, d), cfg.decoder_heads

    def forward(self, q, k, v):
        return self.out_proj(heads_attention(self.q_proj(q), self.k_proj(k), self.v_proj(v), self.heads))


class TwoWayBlock(nn.Module):
    def __init__(self, cfg, skip_first_layer_pe):
        super().__init__()
        d, eps, r = cfg.embed_dim, cfg.layer_norm_eps, cfg.attention_downsample_rate
        self.self_attn, self.layer_norm1 = Attention(cfg, 1), nn.LayerNorm(d, eps)
        self.cross_attn_token_to_image, self.layer_norm2 = Attention(cfg, r), nn.LayerNorm(d, eps)
        self.mlp, self.layer_norm3 = Mlp(d, cfg.decoder_mlp_dim, F.relu), nn.LayerNorm(d, eps)
        self.layer_norm4, self.cross_attn_image_to_token = nn.LayerNorm(d, eps), Attention(cfg, r)
        self.skip = skip_first_layer_pe

    def forward(self, q, k, q_pe, k_pe):
        if self.skip:
            q = self.self_attn(q, q, q)
        else:
            qp = q + q_pe
            q = q + self.self_attn(qp, qp, q)
        q = self.layer_norm1(q)
        kp = k + k_pe
        q = self.layer_norm2(q + self.cross_attn_token_to_image(q + q_pe, kp, k))
        q = self.layer_norm3(q + self.mlp(q))
        k = self.layer_norm4(k + self.cross_attn_image_to_token(kp, q + q_pe, q))
        return q, k


class TwoWayTransformer(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(cfg, i == 0) for i in range(cfg.decoder_depth))
        self.final_attn_token_to_image = Attention(cfg, cfg.attention_downsample_rate)
        self.layer_norm_final_attn = nn.LayerNorm(cfg.embed_dim, cfg.layer_norm_eps)

    def forward(self, tokens, image, image_pe):
        """tokens [P, T, D], image [P, HW, D], image_pe [1, HW, D] -> (tokens, image)."""
        q, k = tokens, image
        for layer in self.layers:
            q, k = layer(q, k, tokens, image_pe)
        q = self.layer_norm_final_attn(q + self.final_attn_token_to_image(q + tokens, k + image_pe, k))
        return q, k


class FeedForward(nn.Module):
    """proj_in, layers.0, proj_out with ReLU between, as SamFeedForward with three layers."""

    def __init__(self, din, hidden, dout):
        super().__init__()
        self.proj_in, self.proj_out = nn.Linear(din, hidden), nn.Linear(hidden, dout)
        self.layers = nn.ModuleList([nn.Linear(hidden, hidden)])

    def forward(self, x):
        return self.proj_out(F.relu(self.layers[0](F.relu(self.proj_in(x)))))


class RefineBlock(nn.Module):
    """x + pointwise(relu(depthwise(x)))."""

    def __init__(self, c, k):
        super().__init__()
        self.depthwise, self.pointwise = nn.Conv2d(c, c, k, 1, k // 2, groups=c), nn.Conv2d(c, c, 1)

    def forward(self, x):
        return x + self.pointwise(F.relu(self.depthwise(x), inplace=True))


def add_per_image(x, t):
    """x [P, C, H, W] + t [B, C, H, W] of each prompt's image; the memory layout of x is kept."""
    b = t.shape[0]
    return (x.unflatten(0, (b, x.shape[0] // b)) + t[:, None]).flatten(0, 1)


class MaskDecoder(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        d, d8, d4 = cfg.embed_dim, cfg.fpn_dim_8, cfg.fpn_dim_4
        n = cfg.num_multimask_outputs + 1
        self.n = n
        self.iou_token, self.mask_tokens = nn.Embedding(1, d), nn.Embedding(n, d)
        self.transformer = TwoWayTransformer(cfg)
        self.upscale_conv1, self.upscale_conv2 = nn.ConvTranspose2d(d, d8, 2, 2), nn.ConvTranspose2d(d8, d4, 2, 2)
        self.upscale_layer_norm = LayerNorm2d(d8, cfg.layer_norm_eps)
        self.dense_conv8, self.dense_conv4 = nn.Conv2d(cfg.dense_channels, d8, 3, 2, 1), nn.Conv2d(cfg.dense_channels, d4, 3, 1, 1)
        self.refine_8 = nn.ModuleList(RefineBlock(d8, cfg.refine_kernel) for _ in range(cfg.refine_blocks_8))
        self.refine_4 = nn.ModuleList(RefineBlock(d4, cfg.refine_kernel) for _ in range(cfg.refine_blocks_4))
        self.output_hypernetworks_mlps = nn.ModuleList(FeedForward(d, d, d4) for _ in range(n))
        self.iou_prediction_head = FeedForward(d, cfg.iou_head_hidden_dim, n)
        self.fine = cfg.fine_dim > 0
        if self.fine:
            self.upscale_conv3 = nn.ConvTranspose2d(d4, cfg.fine_dim, 2, 2)
            self.refine_2 = nn.ModuleList([RefineBlock(cfg.fine_dim, cfg.refine_kernel)])
            self.output_fine = nn.ModuleList(nn.Linear(d, cfg.fine_dim) for _ in range(n))

    def forward(self, emb, h8, h4, h2, image_pe, sparse, dense_map, dense_emb):
        """emb [B, D, h, w], h8, h4 [B, ...], image_pe [D, h, w], sparse [P, T, D], dense_map [P, C, 4h, 4w],
        dense_emb [P, D, h, w], P a multiple of B (image-major) -> masks [P, 4, 4h, 4w], iou [P, 4]; h2 is None, or
        with fine_dim [B, fine_dim, 8h, 8w], and then masks are [P, 4, 8h, 8w]."""
        p, d, h, w = dense_emb.shape
        out_tok = torch.cat([self.iou_token.weight, self.mask_tokens.weight])[None].expand(p, -1, -1)
        tokens = torch.cat([out_tok, sparse], 1)
        image = add_per_image(dense_emb, emb).flatten(2).transpose(1, 2)
        q, k = self.transformer(tokens, image, image_pe.flatten(1).t()[None])
        x = k.transpose(1, 2).view(p, d, h, w)
        x = add_per_image(self.upscale_conv1(x), h8) + self.dense_conv8(dense_map)
        x = F.gelu(self.upscale_layer_norm(x))
        for b in self.refine_8:
            x = b(x)
        x = F.relu(add_per_image(self.upscale_conv2(x), h4) + self.dense_conv4(dense_map), inplace=True)
        for b in self.refine_4:
            x = b(x)
        hyper = torch.stack([m(q[:, 1 + i]) for i, m in enumerate(self.output_hypernetworks_mlps)], 1)
        masks = pixel_products(x, hyper)
        if self.fine:
            y = F.relu(add_per_image(self.upscale_conv3(x), h2), inplace=True)
            for b in self.refine_2:
                y = b(y)
            hyper = torch.stack([m(q[:, 1 + i]) for i, m in enumerate(self.output_fine)], 1)
            masks = up2(masks) + pixel_products(y, hyper)
        return masks, self.iou_prediction_head(q[:, 0]).sigmoid()


def pixel_products(x, vectors):
    """x [P, C, H, W], vectors [P, N, C] -> their products at every pixel, [P, N, H, W]."""
    p, _, h, w = x.shape
    y = x.permute(0, 2, 3, 1).flatten(1, 2) @ vectors.transpose(1, 2)
    return y.transpose(1, 2).reshape(p, -1, h, w)


class Nano(nn.Module):
    def __init__(self, cfg=None):
        super().__init__()
        self.cfg = cfg or NanoConfig()
        self.shared_image_embedding = PositionalEmbedding(self.cfg)
        self.vision_encoder = VisionEncoder(self.cfg)
        self.prompt_encoder = PromptEncoder(self.cfg, self.shared_image_embedding)
        self.mask_decoder = MaskDecoder(self.cfg)
        self.apply(init_weights)
        for layer in self.vision_encoder.layers:  # global context starts as the identity
            for lin in (layer.attn.proj, layer.mlp.lin2):
                nn.init.normal_(lin.weight, std=1e-3)
        for conv in (self.prompt_encoder.mask_embed.conv1, self.prompt_encoder.mask_embed.conv2):
            nn.init.normal_(conv.bias, std=0.5)  # an empty dense map must not reach LN2d with zero variance
        with torch.no_grad():
            for mlp in self.mask_decoder.output_hypernetworks_mlps:
                mlp.proj_out.weight.mul_(0.3)
            for lin in self.mask_decoder.output_fine if self.cfg.fine_dim else []:  # the residual starts at nothing
                lin.weight.zero_()

    def encode(self, pixels):
        """[B, 3, S, S] normalised pixels -> (image_embedding, high_res_8, high_res_4[, high_res_2])."""
        pe = self.shared_image_embedding.grid(pixels.shape[-1] // 16)
        return self.vision_encoder(pixels, pe)

    def decode(self, feats, points, labels, boxes=None, masks=None, tokens=None):
        """feats of B images; P prompts, a multiple of B, image-major.

        points [P, N, 2] (input pixels), labels [P, N], boxes [P, 4] or None, masks [P, S/4, S/4] or None.
        tokens: optional (coords [P, T, 2], labels [P, T]) with labels 2 and 3 for box corners, which
        replaces the assembly below (training mixes prompts with and without boxes in a batch).
        -> masks [P, 4, S/4, S/4] (S/2 with fine_dim), iou [P, 4].
        """
        emb, h8, h4, h2 = (*feats, None)[:4]
        p, cfg = points.shape[0], self.cfg
        grid = emb.shape[-1]
        if tokens is None:
            if boxes is None:
                coords, labs = F.pad(points, (0, 0, 0, 1)), F.pad(labels, (0, 1), value=-1)
            else:
                coords = torch.cat([points, boxes.view(p, 2, 2)], 1)
                labs = torch.cat([labels, torch.tensor([2, 3], device=labels.device).expand(p, 2)], 1)
        else:
            coords, labs = tokens
        sparse = self.prompt_encoder.sparse(coords, labs, grid * 16)
        dmap = dense_prompt(points, labels, boxes, masks, grid * 4, cfg.click_sigma, cfg.mask_clamp,
                            cfg.click_scales)
        dmap = dmap.contiguous(memory_format=torch.channels_last)
        demb = self.prompt_encoder.mask_embed(dmap)
        pe = self.shared_image_embedding.grid(grid)
        return self.mask_decoder(emb, h8, h4, h2, pe, sparse, dmap, demb)


def init_weights(m):
    if isinstance(m, nn.Linear):
        nn.init.xavier_uniform_(m.weight)
        nn.init.zeros_(m.bias)
    elif isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.kaiming_normal_(m.weight, mode="fan_in", nonlinearity="linear")
        if m.bias is not None:
            nn.init.zeros_(m.bias)
    elif isinstance(m, nn.Embedding):
        nn.init.normal_(m.weight, std=0.5)
