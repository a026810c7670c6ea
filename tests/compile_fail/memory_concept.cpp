// expect: fanfare: WithMemory<M>: M does not satisfy the concept fanfare::Memory
#include <fanfare/fanfare.hpp>

struct Throwing {
  void* allocate(std::size_t bytes, std::size_t alignment);
  void deallocate(void* address, std::size_t bytes, std::size_t alignment);
};

fanfare::ChannelRegistry<fanfare::WithMemory<Throwing>> channels;
