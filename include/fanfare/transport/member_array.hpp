/// \file
/// The connections of one channel of a loop.
#pragma once

#include <fanfare/detail/config.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

FANFARE_NAMESPACE_BEGIN
namespace transport {

/// Pointers to connections, in the order in which they came; null where one has left. Many channels have one, which needs
/// no memory of its own.
template <class Connection>
class MemberArray {
 public:
  MemberArray() = default;
  MemberArray(const MemberArray&) = delete;
  MemberArray& operator=(const MemberArray&) = delete;
  ~MemberArray() { reset(); }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] Connection** begin() noexcept { return capacity_ == 1 ? &one_ : many_; }
  [[nodiscard]] Connection** end() noexcept { return begin() + size_; }
  [[nodiscard]] Connection*& operator[](std::size_t position) noexcept { return begin()[position]; }

  /// \throws `std::bad_alloc`; nothing is changed then.
  void push_back(Connection* connection) {
    if (size_ == capacity_) grow();
    begin()[size_++] = connection;
  }
  /// Keeps the first ones.
  void truncate(std::size_t size) noexcept { size_ = static_cast<std::uint32_t>(size); }
  void reset() noexcept {
    if (capacity_ != 1) std::allocator<Connection*>().deallocate(many_, capacity_);
    one_ = nullptr;
    size_ = 0;
    capacity_ = 1;
  }

 private:
  void grow() {
    const std::uint32_t capacity = capacity_ == 1 ? 4 : 2 * capacity_;
    Connection** const more = std::allocator<Connection*>().allocate(capacity);
    std::copy(begin(), end(), more);
    const std::uint32_t size = size_;
    reset();
    many_ = more;
    size_ = size;
    capacity_ = capacity;
  }

  union {
    Connection* one_ = nullptr;
    Connection** many_;
  };
  std::uint32_t size_ = 0;
  std::uint32_t capacity_ = 1;
};

}  // namespace transport
FANFARE_NAMESPACE_END
