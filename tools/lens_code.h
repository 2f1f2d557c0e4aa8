// What the lens knows of code: the kinds of instructions, and which of them a GPU makes one of.
#pragma once
#include <cstdint>
#include <string>
#include <unordered_map>

#include "llvm/IR/Instruction.h"

enum Kind {
    FMA,
    FLOAT,
    MATH,
    INT,
    WIDE,
    DIVIDE,
    COMPARE,
    CONVERT,
    BRANCH,
    MEMORY,
    BARRIER,
    QUERY,
    OTHER,
    ADDRESS,
    FREE
};
// ADDRESS is often a part of the access, and FREE needs none: neither is counted among the issued ones
extern const char *const kindNames[];
constexpr size_t kindCount = FREE + 1;

struct Site { // an instruction of the program
    Kind kind = OTHER;
    unsigned width = 1;   // elements of its type
    unsigned flops = 0;   // of one execution
    unsigned element = 0; // bytes of one, where memory is accessed in elements that may not be aligned as a vector
    std::string place;    // "linear.cl:40"
    std::string name;
    bool nothing = false;         // a store of no value
    int64_t whole = -1;           // of a part of a vector: the site that stands for the whole vector
    uint64_t before = 0, all = 0; // bytes of the vector: before this part, and in all
};

// What an instruction is, but for vectors.
Site classify(const llvm::Instruction *i);
// Whether it stores a value that nothing is known of.
bool isNothing(const llvm::Instruction *i);

struct Part {                                  // of a vector
    const llvm::Instruction *leader = nullptr; // the first of its parts; NULL: there is no vector
    uint64_t before = 0, all = 0;              // bytes of it before this part; of all
};
using Parts = std::unordered_map<const llvm::Instruction *, Part>;
// Adds the parts of a block's vectors.
void findVectors(const llvm::BasicBlock *block, Parts &parts);
