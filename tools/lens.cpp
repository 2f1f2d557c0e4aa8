// A plugin for Oclgrind that watches kernels as a GPU would run them: what a warp's instruction does to memory, how many of
// its lanes do anything, what the instructions are.  tools/lens runs it and prints what it writes.
//
//   LIMN_LENS_OUT=FILE   a line of JSON for each launch is appended there
//   LIMN_LENS_GROUPS=N   work-groups of a launch that are watched, spread evenly (8); all are run
//   LIMN_TEST_NAME=TEXT  what launches belong to (tests set it); empty: they aren't watched
//
// A work-group's items are lanes of warps, in the order of their numbers.  The k-th time that a lane executes an instruction
// between two barriers belongs together with the k-th time of the others of its warp, as if warps met again at once.  There
// are three views of it, as the makers of GPUs differ: 32 lanes with sectors of 32 bytes (NVIDIA), 16 lanes with lines of
// 64 bytes (Intel) and 64 lanes with lines of 64 (AMD).
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "oclgrind/Context.h"
#include "oclgrind/Kernel.h"
#include "oclgrind/KernelInvocation.h"
#include "oclgrind/Memory.h"
#include "oclgrind/Plugin.h"
#include "oclgrind/WorkGroup.h"
#include "oclgrind/WorkItem.h"

#include "llvm/IR/DebugInfoMetadata.h"
#include "llvm/IR/Function.h"

#include "lens_code.h"

namespace
{

struct View {
    const char *name;
    unsigned lanes, line, banks;
};
constexpr std::array<View, 3> views{{{"32", 32, 32, 32}, {"16", 16, 64, 16}, {"64", 64, 64, 32}}};
constexpr size_t viewCount = views.size();

// ---- memory ----

struct Access { // of a lane
    uint32_t site, barriers, occurrence, part; // part: of several that one execution makes
    uint16_t lane;
    bool local, store;
    uint32_t bytes;
    uint64_t address;

    bool together(const Access &o) const // executed by warps at once
    {
        return site == o.site && barriers == o.barriers && occurrence == o.occurrence && part == o.part;
    }
};

struct Traffic {
    uint64_t requests = 0, bytes = 0; // of warps; what their lanes ask for
    uint64_t touched = 0, fewest = 0; // lines; that what differs of these bytes would fit in

    void add(const Traffic &o)
    {
        requests += o.requests, bytes += o.bytes, touched += o.touched, fewest += o.fewest;
    }
};

struct Banks {
    uint64_t requests = 0, cycles = 0, fewest = 0;
};

using Span = std::pair<uint64_t, uint64_t>; // first byte, and the one behind the last

Traffic trafficOf(std::vector<Span> spans, unsigned line)
{
    Traffic t;
    t.requests = 1;
    std::sort(spans.begin(), spans.end());
    uint64_t end = 0, differ = 0, next = 0; // next: the first line that isn't counted
    for (const Span &s : spans) {
        t.bytes += s.second - s.first;
        differ += s.second > end ? s.second - std::max(s.first, end) : 0;
        end = std::max(end, s.second);
        const uint64_t first = std::max(s.first / line, next), last = (s.second - 1) / line;
        if (last >= first) {
            t.touched += last - first + 1;
            next = last + 1;
        }
    }
    t.fewest = (differ + line - 1) / line;
    return t;
}

// Local memory has words of 4 bytes in banks; a cycle reads or writes one word of each.
void addBanks(Banks &b, const std::vector<Span> &spans, unsigned banks)
{
    std::vector<uint64_t> words;
    for (const Span &s : spans)
        for (uint64_t word = s.first / 4; word <= (s.second - 1) / 4; word++)
            words.push_back(word);
    std::sort(words.begin(), words.end());
    words.erase(std::unique(words.begin(), words.end()), words.end());
    std::vector<uint64_t> used(banks);
    for (uint64_t word : words)
        used[word % banks]++;
    b.requests++;
    b.cycles += *std::max_element(used.begin(), used.end());
    b.fewest += (words.size() + banks - 1) / banks;
}

// ---- a launch ----

struct Figures {
    uint64_t groups = 0, watched = 0, flops = 0, ownBytes = 0; // ownBytes: of private memory, loads and stores
    std::array<uint64_t, kindCount> kinds{};                   // elements, of lanes
    struct OfView {
        uint64_t slots = 0, busy = 0; // lanes of issued instructions; those that do something
        Traffic load, store;
        Banks local;
    };
    std::array<OfView, viewCount> view;
    Traffic loadApart, storeApart; // 32 lanes, vectors of elements taken apart, as they may lie anywhere
};

struct SiteFigures { // of 32 lanes
    Traffic traffic;
    Banks local;
    bool store = false;
};

class Lens : public oclgrind::Plugin
{
public:
    explicit Lens(const oclgrind::Context *context) : Plugin(context)
    {
        const char *out = std::getenv("LIMN_LENS_OUT"), *groups = std::getenv("LIMN_LENS_GROUPS");
        path = out ? out : "lens.jsonl";
        most = groups && std::atoi(groups) > 0 ? std::atoi(groups) : 8;
    }

    bool isThreadSafe() const override { return false; }

    void kernelBegin(const oclgrind::KernelInvocation *k) override
    {
        const oclgrind::Size3 n = k->getNumGroups();
        figures = Figures();
        figures.groups = n.x * n.y * n.z;
        size = k->getLocalSize();
        every = std::max<size_t>(1, (figures.groups + most - 1) / most);
        siteOf.clear();
        sites.clear();
        wholes.clear();
        seen.clear();
        parts.clear();
        siteFigures.clear();
        recent.fill({nullptr, 0});
        const char *name = std::getenv("LIMN_TEST_NAME");
        label = name ? name : "";
    }

    void workGroupBegin(const oclgrind::WorkGroup *g) override
    {
        watching = !label.empty() && g->getGroupIndex() % every == 0;
        if (!watching)
            return;
        figures.watched++;
        counts.assign(size.x * size.y * size.z, {});
        barriers = 0;
        accesses.clear();
        item = nullptr;
    }

    void instructionExecuted(const oclgrind::WorkItem *w, const llvm::Instruction *i, const oclgrind::TypedValue &) override
    {
        if (!watching)
            return;
        const uint32_t s = siteNumber(i);
        std::vector<uint32_t> &count = counts[laneOf(w)];
        if (count.size() <= s)
            count.resize(sites.size(), 0);
        count[s]++;
        figures.kinds[sites[s].kind] += sites[s].width;
        figures.flops += sites[s].flops;
    }

    void memoryLoad(const oclgrind::Memory *m, const oclgrind::WorkItem *w, size_t address, size_t bytes) override
    {
        access(m, w, address, bytes, false);
    }

    void memoryStore(const oclgrind::Memory *m, const oclgrind::WorkItem *w, size_t address, size_t bytes,
                     const uint8_t *) override
    {
        access(m, w, address, bytes, true);
    }

    void workGroupBarrier(const oclgrind::WorkGroup *, uint32_t) override
    {
        if (watching)
            countLanes();
        barriers++;
    }

    void workGroupComplete(const oclgrind::WorkGroup *) override
    {
        if (watching) {
            countLanes();
            countMemory();
        }
        watching = false;
    }

    void kernelEnd(const oclgrind::KernelInvocation *k) override
    {
        if (!label.empty())
            write(k);
    }

private:
    std::string path, label;
    size_t most, every = 1;
    bool watching = false;
    oclgrind::Size3 size;
    Figures figures;
    std::unordered_map<const llvm::Instruction *, uint32_t> siteOf;
    std::vector<Site> sites;
    std::unordered_map<const llvm::Instruction *, uint32_t> wholes; // sites of vectors, by their leaders
    std::unordered_set<const llvm::BasicBlock *> seen;              // whose vectors are in:
    Parts parts;
    std::vector<SiteFigures> siteFigures;
    uint32_t barriers = 0;                     // that the group has passed
    std::vector<std::vector<uint32_t>> counts; // of a lane: how often it executed a site since then
    std::vector<Access> accesses;
    const oclgrind::WorkItem *item = nullptr; // whose number `itemLane` is
    uint16_t itemLane = 0;
    struct Recent {
        const llvm::Instruction *instruction;
        uint32_t site;
    };
    std::array<Recent, 1024> recent{}; // in front of siteOf

    uint16_t laneOf(const oclgrind::WorkItem *w)
    {
        if (w != item) {
            const oclgrind::Size3 l = w->getLocalID();
            item = w;
            itemLane = static_cast<uint16_t>(l.x + size.x * (l.y + size.y * l.z));
        }
        return itemLane;
    }

    uint32_t siteNumber(const llvm::Instruction *i)
    {
        Recent &r = recent[reinterpret_cast<uintptr_t>(i) / 16 % recent.size()];
        if (r.instruction != i) {
            const auto found = siteOf.emplace(i, static_cast<uint32_t>(sites.size()));
            if (found.second)
                addSite(i);
            r = {i, found.first->second};
        }
        return r.site;
    }

    void addSite(const llvm::Instruction *i)
    {
        Site s = classify(i);
        s.nothing = isNothing(i);
        if (s.nothing)
            s.kind = FREE;
        if (s.kind == MEMORY && seen.insert(i->getParent()).second)
            findVectors(i->getParent(), parts);
        const auto part = parts.find(i);
        if (part == parts.end()) {
            sites.push_back(s);
            return;
        }
        const auto found = wholes.emplace(part->second.leader, static_cast<uint32_t>(sites.size()) + 1);
        Site whole = s;
        s.kind = FREE;
        s.before = part->second.before;
        s.all = part->second.all;
        s.whole = found.first->second;
        sites.push_back(s);
        if (found.second) {
            whole.name += " of a vector";
            sites.push_back(whole);
        }
    }

    // A lane's first access to a part of a vector is to the whole: changes site, address and bytes.  False: that is done.
    bool isFirst(uint32_t &s, uint16_t lane, size_t &address, size_t &bytes)
    {
        const Site &site = sites[s];
        const uint32_t whole = static_cast<uint32_t>(site.whole);
        std::vector<uint32_t> &count = counts[lane];
        count.resize(std::max(count.size(), sites.size()), 0);
        if (count[s] < count[whole])
            return false;
        address -= site.before;
        bytes = site.all;
        s = whole;
        return true;
    }

    void access(const oclgrind::Memory *m, const oclgrind::WorkItem *w, size_t address, size_t bytes, bool store)
    {
        if (!watching || !bytes)
            return;
        if (m->getAddressSpace() == oclgrind::AddrSpacePrivate) {
            figures.ownBytes += bytes;
            return;
        }
        Access a{};
        a.site = siteNumber(w->getCurrentInstruction());
        a.lane = laneOf(w);
        if (sites[a.site].nothing)
            return;
        const bool whole = sites[a.site].whole >= 0;
        if (whole && !isFirst(a.site, a.lane, address, bytes))
            return;
        a.barriers = barriers;
        a.occurrence = a.site < counts[a.lane].size() ? counts[a.lane][a.site] : 0;
        a.local = m->getAddressSpace() == oclgrind::AddrSpaceLocal;
        a.store = store;
        a.bytes = static_cast<uint32_t>(bytes);
        a.address = address;
        if (!accesses.empty()) {
            const Access &last = accesses.back();
            if (!whole && last.lane == a.lane && last.site == a.site && last.barriers == a.barriers &&
                last.occurrence == a.occurrence)
                a.part = last.part + 1;
        }
        accesses.push_back(a);
        if (whole) {
            counts[a.lane][a.site]++;
            figures.kinds[MEMORY]++;
        }
    }

    // A warp issues an instruction as often as the lane does that executes it most.
    void countLanes()
    {
        for (std::vector<uint32_t> &count : counts)
            count.resize(sites.size(), 0);
        for (size_t v = 0; v < viewCount; v++)
            for (size_t from = 0; from < counts.size(); from += views[v].lanes)
                for (size_t s = 0; s < sites.size(); s++) {
                    if (sites[s].kind == FREE || sites[s].kind == ADDRESS)
                        continue;
                    uint64_t issued = 0;
                    for (size_t lane = from; lane < std::min<size_t>(counts.size(), from + views[v].lanes); lane++) {
                        issued = std::max<uint64_t>(issued, counts[lane][s]);
                        figures.view[v].busy += static_cast<uint64_t>(counts[lane][s]) * sites[s].width;
                    }
                    figures.view[v].slots += issued * views[v].lanes * sites[s].width;
                }
        for (std::vector<uint32_t> &count : counts)
            std::fill(count.begin(), count.end(), 0);
    }

    void countMemory()
    {
        siteFigures.resize(sites.size());
        std::sort(accesses.begin(), accesses.end(), [](const Access &a, const Access &b) {
            return std::tie(a.site, a.barriers, a.occurrence, a.part, a.lane) <
                   std::tie(b.site, b.barriers, b.occurrence, b.part, b.lane);
        });
        for (auto a = accesses.begin(); a != accesses.end();) {
            auto end = std::find_if(a, accesses.end(), [&](const Access &b) { return !b.together(*a); });
            for (size_t v = 0; v < viewCount; v++)
                for (auto from = a; from != end;) {
                    const unsigned warp = from->lane / views[v].lanes;
                    auto to = std::find_if(from, end, [&](const Access &b) { return b.lane / views[v].lanes != warp; });
                    countWarp(v, &*from, static_cast<size_t>(to - from));
                    from = to;
                }
            a = end;
        }
    }

    // What n lanes of a warp access at once.
    void countWarp(size_t v, const Access *a, size_t n)
    {
        SiteFigures &site = siteFigures[a->site];
        Figures::OfView &view = figures.view[v];
        std::vector<Span> spans;
        site.store = a->store;
        for (size_t i = 0; i < n; i++)
            spans.push_back({a[i].address, a[i].address + a[i].bytes});
        if (a->local) {
            addBanks(view.local, spans, views[v].banks);
            if (v == 0)
                addBanks(site.local, spans, views[v].banks);
            return;
        }
        const Traffic t = trafficOf(spans, views[v].line);
        (a->store ? view.store : view.load).add(t);
        if (v != 0)
            return;
        site.traffic.add(t);
        Traffic &apart = a->store ? figures.storeApart : figures.loadApart;
        const unsigned element = sites[a->site].element;
        const unsigned parts = element && a->bytes > element ? a->bytes / element : 1;
        for (unsigned part = 0; parts > 1 && part < parts; part++) {
            for (size_t i = 0; i < n; i++)
                spans[i] = {a[i].address + part * element, a[i].address + (part + 1) * element};
            apart.add(trafficOf(spans, views[v].line));
        }
        if (parts == 1)
            apart.add(t);
    }

    static std::string text(const Traffic &t)
    {
        std::ostringstream o;
        o << "[" << t.requests << "," << t.bytes << "," << t.touched << "," << t.fewest << "]";
        return o.str();
    }

    static std::string text(const Banks &b)
    {
        std::ostringstream o;
        o << "[" << b.requests << "," << b.cycles << "," << b.fewest << "]";
        return o.str();
    }

    // "norm:layer_norm": the file in which the kernel stands, and its name.
    static std::string nameOf(const oclgrind::Kernel *k)
    {
        const llvm::DISubprogram *at = k->getFunction()->getSubprogram();
        const std::string file = at ? at->getFilename().str() : "";
        const size_t from = file.find_last_of('/') + 1;
        return file.substr(from, file.find_last_of('.') - from) + ":" + k->getName();
    }

    void write(const oclgrind::KernelInvocation *k) const
    {
        const oclgrind::Size3 global = k->getGlobalSize();
        std::ostringstream o;
        o << "{\"test\":\"" << label << "\",\"kernel\":\"" << nameOf(k->getKernel()) << "\",\"global\":[" << global.x << ","
          << global.y << "," << global.z << "],\"group\":" << size.x * size.y * size.z << ",\"groups\":" << figures.groups
          << ",\"watched\":" << figures.watched << ",\"flops\":" << figures.flops << ",\"own\":" << figures.ownBytes
          << ",\"kinds\":{";
        for (size_t i = 0; i < kindCount; i++)
            o << (i ? "," : "") << "\"" << kindNames[i] << "\":" << figures.kinds[i];
        o << "},\"apart\":{\"load\":" << text(figures.loadApart) << ",\"store\":" << text(figures.storeApart) << "}";
        for (size_t v = 0; v < viewCount; v++) {
            const Figures::OfView &view = figures.view[v];
            o << ",\"" << views[v].name << "\":{\"slots\":" << view.slots << ",\"busy\":" << view.busy
              << ",\"load\":" << text(view.load) << ",\"store\":" << text(view.store) << ",\"local\":" << text(view.local)
              << "}";
        }
        o << ",\"sites\":[";
        bool first = true;
        for (size_t s = 0; s < siteFigures.size(); s++) {
            const SiteFigures &f = siteFigures[s];
            if (!f.traffic.requests && !f.local.requests)
                continue;
            o << (first ? "" : ",") << "{\"place\":\"" << sites[s].place << "\",\"name\":\"" << sites[s].name << "\",\"store\":"
              << (f.store ? "true" : "false") << ",\"traffic\":" << text(f.traffic) << ",\"local\":" << text(f.local) << "}";
            first = false;
        }
        o << "]}\n";
        std::ofstream(path, std::ios::app) << o.str();
    }
};

std::map<oclgrind::Context *, Lens *> lenses; // a program may have several contexts

} // namespace

extern "C" {
void initializePlugins(oclgrind::Context *context)
{
    lenses[context] = new Lens(context);
    context->registerPlugin(lenses[context]);
}

void releasePlugins(oclgrind::Context *context)
{
    const auto found = lenses.find(context);
    if (found == lenses.end())
        return;
    context->unregisterPlugin(found->second);
    delete found->second;
    lenses.erase(found);
}
}
