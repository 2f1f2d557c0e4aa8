#include "lens_code.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "llvm/ADT/MapVector.h"
#include "llvm/IR/DataLayout.h"
#include "llvm/IR/DebugInfoMetadata.h"
#include "llvm/IR/DebugLoc.h"
#include "llvm/IR/Function.h"
#include "llvm/IR/Instructions.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/Operator.h"

const char *const kindNames[] = {"fma",    "float",  "math",    "int",   "wide",  "divide",  "compare", "convert",
                                 "branch", "memory", "barrier", "query", "other", "address", "free"};

namespace
{

unsigned elementsOf(const llvm::Type *type)
{
    auto *vector = llvm::dyn_cast<llvm::FixedVectorType>(type);
    return vector ? vector->getNumElements() : 1;
}

bool has(const std::string &text, const char *part)
{
    return text.find(part) != std::string::npos;
}

template <size_t n> bool hasAny(const std::string &text, const char *const (&parts)[n])
{
    return std::any_of(std::begin(parts), std::end(parts), [&](const char *part) { return has(text, part); });
}

// Bytes of an element of vload4, vstore_half, ..., by the last letters of the mangled name.
unsigned elementOf(const std::string &name)
{
    if (has(name, "half"))
        return 2;
    const size_t at = name.find_last_of("fcahstijlmd");
    switch (at == std::string::npos ? 'f' : name[at]) {
    case 'c': case 'a': case 'h': return 1;
    case 's': case 't': return 2;
    case 'l': case 'm': case 'd': return 8;
    default: return 4;
    }
}

void classifyCall(const llvm::CallInst *call, Site &s)
{
    static const char *const compares[] = {"3min", "3max", "fmin", "fmax", "clamp", "select", "copysign", "fabs", "mul_hi",
                                           "llvm.smin", "llvm.smax", "llvm.umin", "llvm.umax", "llvm.abs"};
    static const char *const maths[] = {"exp", "log", "sqrt", "tanh", "pow", "sin", "cos", "erf"};
    static const char *const queries[] = {"get_global", "get_local", "get_group", "get_num"};
    static const char *const nothing[] = {"llvm.dbg", "llvm.lifetime", "llvm.assume", "llvm.experimental.noalias"};
    const llvm::Function *f = call->getCalledFunction();
    s.name = f ? f->getName().str() : "?";
    if (hasAny(s.name, nothing)) {
        s.kind = FREE;
    } else if (has(s.name, "fmuladd") || has(s.name, "3fma") || has(s.name, "3mad") || has(s.name, "llvm.fma")) {
        s.kind = FMA;
        s.flops = 2 * s.width;
    } else if (has(s.name, "vload") || has(s.name, "vstore")) {
        s.kind = MEMORY;
        s.width = 1;
        s.element = elementOf(s.name);
    } else if (has(s.name, "barrier")) {
        s.kind = BARRIER;
    } else if (hasAny(s.name, queries)) {
        s.kind = QUERY;
    } else if (has(s.name, "convert_")) {
        s.kind = CONVERT;
    } else if (hasAny(s.name, compares)) {
        s.kind = COMPARE;
    } else if (hasAny(s.name, maths)) {
        s.kind = MATH;
        s.flops = s.width;
    } else if (f && !f->isDeclaration()) { // a function of ours that wasn't inlined: its instructions follow
        s.kind = BRANCH;
        s.width = 1;
    }
}

// What a GPU makes of an instruction of the intermediate code.  An integer division by a constant is a multiplication.
Kind kindOf(const llvm::Instruction *i)
{
    using llvm::Instruction;
    const bool wide = !i->getType()->isVoidTy() && i->getType()->getScalarSizeInBits() > 32;
    switch (i->getOpcode()) {
    case Instruction::FAdd: case Instruction::FSub: case Instruction::FMul: return FLOAT;
    case Instruction::FDiv: case Instruction::FRem: return MATH;
    case Instruction::UDiv: case Instruction::SDiv: case Instruction::URem: case Instruction::SRem:
        return !llvm::isa<llvm::Constant>(i->getOperand(1)) ? DIVIDE : wide ? WIDE : INT;
    case Instruction::Add: case Instruction::Sub: case Instruction::Mul: case Instruction::Shl: case Instruction::LShr:
    case Instruction::AShr: case Instruction::And: case Instruction::Or: case Instruction::Xor: return wide ? WIDE : INT;
    case Instruction::ICmp: case Instruction::FCmp: case Instruction::Select: return COMPARE;
    case Instruction::SExt: case Instruction::ZExt: return wide ? WIDE : CONVERT;
    case Instruction::FPToSI: case Instruction::FPToUI: case Instruction::SIToFP: case Instruction::UIToFP:
    case Instruction::FPExt: case Instruction::FPTrunc: return CONVERT;
    case Instruction::Br: case Instruction::Switch: case Instruction::Ret: return BRANCH;
    case Instruction::Load: case Instruction::Store: return MEMORY;
    case Instruction::GetElementPtr: return ADDRESS;
    case Instruction::FNeg: case Instruction::Trunc: case Instruction::PHI: case Instruction::BitCast:
    case Instruction::ExtractElement: case Instruction::InsertElement: case Instruction::ShuffleVector:
    case Instruction::ExtractValue: case Instruction::InsertValue: case Instruction::Alloca: case Instruction::Freeze:
    case Instruction::AddrSpaceCast: return FREE;
    default: return OTHER;
    }
}

// ---- vectors ----
// clang makes loads and stores of numbers of one of a vector; compilers for GPUs make one of these again where it is aligned.

struct Place { // an address: a value, multiples of others, and a distance
    const llvm::Value *base = nullptr;
    std::map<const llvm::Value *, int64_t> multiples;
    int64_t distance = 0;
};

Place placeOf(const llvm::Value *pointer, const llvm::DataLayout &layout)
{
    Place p;
    for (p.base = pointer;;) {
        if (auto *cast = llvm::dyn_cast<llvm::BitCastOperator>(p.base)) {
            p.base = cast->getOperand(0);
            continue;
        }
        auto *at = llvm::dyn_cast<llvm::GEPOperator>(p.base);
        if (!at)
            return p;
        const unsigned bits = layout.getIndexTypeSizeInBits(at->getType());
        llvm::MapVector<llvm::Value *, llvm::APInt> multiples;
        llvm::APInt distance(bits, 0);
        if (!at->collectOffset(layout, bits, multiples, distance))
            return p;
        for (const auto &m : multiples)
            p.multiples[m.first] += m.second.getSExtValue();
        p.distance += distance.getSExtValue();
        p.base = at->getPointerOperand();
    }
}

struct Number { // that is loaded or stored
    const llvm::Instruction *instruction;
    uint64_t bytes, align;
};
// By what has the same base and multiples: distances, and what is there.
using Numbers = std::map<std::tuple<bool, const llvm::Value *, std::map<const llvm::Value *, int64_t>>, std::map<int64_t, Number>>;

// Neighbours that begin where as many bytes are aligned, up to 16 of them.
void joinNumbers(const Numbers &numbers, Parts &parts)
{
    for (const auto &group : numbers)
        for (auto first = group.second.begin(); first != group.second.end();) {
            auto end = first;
            uint64_t all = 0;
            while (end != group.second.end() && end->first == first->first + static_cast<int64_t>(all) &&
                   end->second.bytes == first->second.bytes &&
                   all + end->second.bytes <= std::min<uint64_t>(16, std::max(first->second.align, first->second.bytes)))
                all += (end++)->second.bytes;
            for (auto at = first; all > first->second.bytes && at != end; ++at)
                parts[at->second.instruction] = {first->second.instruction, static_cast<uint64_t>(at->first - first->first), all};
            first = end == first ? std::next(first) : end;
        }
}

} // namespace

Site classify(const llvm::Instruction *i)
{
    Site s;
    s.width = elementsOf(i->getType());
    s.name = i->getOpcodeName();
    if (const llvm::DebugLoc &at = i->getDebugLoc()) {
        const std::string file = llvm::cast<llvm::DIScope>(at.getScope())->getFilename().str();
        s.place = file.substr(file.find_last_of('/') + 1) + ":" + std::to_string(at.getLine());
    }
    if (auto *call = llvm::dyn_cast<llvm::CallInst>(i)) {
        classifyCall(call, s);
        return s;
    }
    s.kind = kindOf(i);
    if (s.kind == BRANCH || s.kind == MEMORY || s.kind == ADDRESS)
        s.width = 1;
    if (s.kind == FLOAT || s.kind == MATH)
        s.flops = s.width;
    return s;
}

bool isNothing(const llvm::Instruction *i)
{
    auto *store = llvm::dyn_cast<llvm::StoreInst>(i);
    return store && llvm::isa<llvm::UndefValue>(store->getValueOperand());
}

// The vectors of a block, between what they may not be moved over: calls.  A store of nothing shows how a vector is aligned.
void findVectors(const llvm::BasicBlock *block, Parts &parts)
{
    const llvm::DataLayout &layout = block->getModule()->getDataLayout();
    Numbers numbers;
    std::map<std::tuple<const llvm::Value *, std::map<const llvm::Value *, int64_t>, int64_t>, uint64_t> aligned;
    for (const llvm::Instruction &i : *block) {
        auto *call = llvm::dyn_cast<llvm::CallInst>(&i);
        if (call && call->mayHaveSideEffects()) {
            joinNumbers(numbers, parts);
            numbers.clear();
        }
        const llvm::Value *pointer = llvm::getLoadStorePointerOperand(&i);
        if (!pointer)
            continue;
        const Place at = placeOf(pointer, layout);
        uint64_t &align = aligned[{at.base, at.multiples, at.distance}];
        align = std::max(align, llvm::getLoadStoreAlignment(const_cast<llvm::Instruction *>(&i)).value());
        llvm::Type *type = llvm::getLoadStoreType(const_cast<llvm::Instruction *>(&i));
        if (type->isVectorTy() || isNothing(&i))
            continue;
        std::map<int64_t, Number> &there = numbers[{llvm::isa<llvm::StoreInst>(i), at.base, at.multiples}];
        there.emplace(at.distance, Number{&i, layout.getTypeStoreSize(type).getFixedSize(), align});
    }
    joinNumbers(numbers, parts);
}
