#include "fiber.hpp"

#include <cstdint>

#if defined(__x86_64__)

// swapcontext asks the kernel for the signal mask each time, which takes longer than all else that a step does.
extern "C" void fanfare_explore_switch(void** from, void* to);
asm(R"(
.text
.globl fanfare_explore_switch
.type fanfare_explore_switch, @function
fanfare_explore_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size fanfare_explore_switch, .-fanfare_explore_switch
)");

#endif

namespace fanfare::explore {

void Fiber::prepare(void (*entry)()) {
  if (stack_ == nullptr) stack_ = std::make_unique<std::byte[]>(stack_bytes);
#if defined(__x86_64__)
  auto** slot =
      reinterpret_cast<void**>((reinterpret_cast<std::uintptr_t>(stack_.get()) + stack_bytes) & ~std::uintptr_t{63});
  *--slot = nullptr;  // where a caller's return address would be: keeps the alignment that a call leaves
  *--slot = reinterpret_cast<void*>(entry);
  for (int registers = 0; registers < 6; ++registers) *--slot = nullptr;
  top_ = slot;
#else
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack_.get();
  context_.uc_stack.ss_size = stack_bytes;
  context_.uc_link = nullptr;
  makecontext(&context_, entry, 0);
#endif
}

void Fiber::suspend_for(Fiber& to) {
#if defined(__x86_64__)
  fanfare_explore_switch(&top_, to.top_);
#else
  swapcontext(&context_, &to.context_);
#endif
}

}  // namespace fanfare::explore
