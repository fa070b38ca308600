// Principal axes of a covariance.
#pragma once

#include <vector>

namespace deltastore {

struct Eigenvectors {
    std::vector<double> values;   // [axis], descending
    std::vector<double> vectors;  // [axis][element], of length 1
};

// Of a symmetric matrix [element][element]: Householder's reduction to a tridiagonal matrix, then QL steps with implicit shifts (Golub & Van Loan, Matrix
// Computations, 8.3).
Eigenvectors eigenvectors(std::vector<double> matrix, int size);

}  // namespace deltastore
