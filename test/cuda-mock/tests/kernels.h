#pragma once

// PTX by hand, each kernel for one trait of the mock.

namespace cuda_mock_test {

// Thread i counts down from i in a loop of its own length, so lanes go apart and meet; then the warp sums by shuffles: 0 + 1 + ... + 31.
constexpr const char* kDivergence = R"(
.version 7.0
.target sm_80
.address_size 64
.visible .entry count_down(.param .u64 out)
{
.reg .pred %p<3>;
.reg .b32 %r<12>;
.reg .b64 %rd<4>;
ld.param.u64 %rd1, [out];
mov.u32 %r1, %tid.x;
mov.u32 %r2, 0;
mov.u32 %r3, %r1;
LOOP:
setp.eq.u32 %p1, %r3, 0;
@%p1 bra DONE;
add.u32 %r2, %r2, 1;
sub.u32 %r3, %r3, 1;
bra LOOP;
DONE:
shfl.sync.bfly.b32 %r4, %r2, 16, 31, -1;
add.u32 %r2, %r2, %r4;
shfl.sync.bfly.b32 %r4, %r2, 8, 31, -1;
add.u32 %r2, %r2, %r4;
shfl.sync.bfly.b32 %r4, %r2, 4, 31, -1;
add.u32 %r2, %r2, %r4;
shfl.sync.bfly.b32 %r4, %r2, 2, 31, -1;
add.u32 %r2, %r2, %r4;
shfl.sync.bfly.b32 %r4, %r2, 1, 31, -1;
add.u32 %r2, %r2, %r4;
mul.wide.u32 %rd2, %r1, 4;
add.s64 %rd3, %rd1, %rd2;
st.global.u32 [%rd3], %r2;
ret;
}
)";

// Thread i of 64 stores i in shared memory and reads what thread 63 - i stored: with a barrier between, and without.
constexpr const char* kBarrier = R"(
.version 7.0
.target sm_80
.address_size 64
.visible .entry mirrored(.param .u64 out, .param .u32 waits)
{
.reg .pred %p<3>;
.reg .b32 %r<12>;
.reg .b64 %rd<4>;
.shared .align 4 .b8 cells[256];
ld.param.u64 %rd1, [out];
ld.param.u32 %r9, [waits];
mov.u32 %r1, %tid.x;
shl.b32 %r2, %r1, 2;
mov.u32 %r3, cells;
add.u32 %r4, %r3, %r2;
st.shared.u32 [%r4], %r1;
setp.eq.u32 %p1, %r9, 0;
@%p1 bra READ;
bar.sync 0;
READ:
sub.u32 %r5, 252, %r2;
add.u32 %r5, %r3, %r5;
ld.shared.u32 %r6, [%r5];
mul.wide.u32 %rd2, %r1, 4;
add.s64 %rd3, %rd1, %rd2;
st.global.u32 [%rd3], %r6;
ret;
}
)";

// One warp: D (16 x 8) = A (16 x 16) x B (16 x 8), A by rows and B by columns, of halves, as the manual's fragments have them.
constexpr const char* kProduct = R"(
.version 7.0
.target sm_80
.address_size 64
.visible .entry product(.param .u64 a, .param .u64 b, .param .u64 d)
{
.reg .b32 %r<30>;
.reg .f32 %f<9>;
.reg .b64 %rd<20>;
ld.param.u64 %rd1, [a];
ld.param.u64 %rd2, [b];
ld.param.u64 %rd3, [d];
mov.u32 %r1, %laneid;
shr.u32 %r2, %r1, 2;
and.b32 %r3, %r1, 3;
mad.lo.u32 %r4, %r2, 32, 0;
mad.lo.u32 %r4, %r3, 4, %r4;
cvt.u64.u32 %rd4, %r4;
add.u64 %rd5, %rd1, %rd4;
ld.global.u32 %r10, [%rd5];
ld.global.u32 %r11, [%rd5+256];
ld.global.u32 %r12, [%rd5+16];
ld.global.u32 %r13, [%rd5+272];
add.u64 %rd6, %rd2, %rd4;
ld.global.u32 %r14, [%rd6];
ld.global.u32 %r15, [%rd6+16];
mov.f32 %f1, 0f00000000;
mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f2, %f3, %f4, %f5}, {%r10, %r11, %r12, %r13}, {%r14, %r15}, {%f1, %f1, %f1, %f1};
cvt.u64.u32 %rd7, %r4;
mad.lo.u32 %r5, %r2, 32, 0;
mad.lo.u32 %r5, %r3, 8, %r5;
cvt.u64.u32 %rd8, %r5;
add.u64 %rd9, %rd3, %rd8;
st.global.v2.f32 [%rd9], {%f2, %f3};
st.global.v2.f32 [%rd9+256], {%f4, %f5};
ret;
}
)";

// Adds `what` to one number.
constexpr const char* kAdd = R"(
.version 7.0
.target sm_80
.address_size 64
.visible .entry add_to(.param .u64 at, .param .u32 what)
{
.reg .b32 %r<3>;
.reg .b64 %rd<2>;
ld.param.u64 %rd1, [at];
ld.param.u32 %r1, [what];
red.global.add.u32 [%rd1], %r1;
ret;
}
)";

// Multiplies a number by a power of two; FTZ stands for `.ftz` or nothing.
constexpr const char* kScale = R"(
.version 7.0
.target sm_80
.address_size 64
.visible .entry scale(.param .u64 at)
{
.reg .f32 %f<3>;
.reg .b64 %rd<2>;
ld.param.u64 %rd1, [at];
ld.global.f32 %f1, [%rd1];
mulFTZ.f32 %f2, %f1, 0f3F000000;
st.global.f32 [%rd1], %f2;
ret;
}
)";

}  // namespace cuda_mock_test
